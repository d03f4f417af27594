"""The manual pages name every command and option that there is."""

import argparse
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from zocalo_daemon.client.main import COMMANDS

PAGES = sorted((Path(__file__).parents[2] / "docs" / "man").glob("*.[1-8]"))
CONTROL = next(page for page in PAGES if page.name == "zocaloctl.1").read_text()


def plain(roff):
    """Return the text of a page without fonts and escapes."""
    text = re.sub(r"\\f[BRI]|\\\||\\&", "", roff)
    text = re.sub(
        r"^\.(?:B|I|BR|IR|BI|RB|RI) (.*)$", lambda found: found[1].replace('"', ""), text, flags=re.M
    )
    return text.replace("\\-", "-").replace("\\(aq", "'")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_its_options_are_described(command):
    text = plain(CONTROL)
    assert re.search(rf"\b{command}\b", text)
    module = import_module("zocalo_daemon.client." + COMMANDS[command][0])
    parser = argparse.ArgumentParser(add_help=False)
    getattr(module, re.sub("[ -]", "_", command) + "_options")(parser)
    for action in parser._actions:
        for option in action.option_strings:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), option


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_valid(page):
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", page], capture_output=True, check=True)
    assert done.stderr == b""
