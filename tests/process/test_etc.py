"""What etc/ holds can be used as it is, and what it shows commented out can be used as well."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemonkit import COMMANDS
from tests.waiting import wait_until

ETC = Path(__file__).parents[2] / "etc"
FILES = sorted(ETC.rglob("*.yaml"))


def usable(text: str, tmp_path: Path) -> Path:
    """Return a configuration with its files and directories in a place of the test's."""
    for name in re.findall(r"/etc/[\w./-]+", text):
        file = tmp_path / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("defaults: {}\n" if name.endswith("site.yaml") else "secret\n")
        file.chmod(0o600)
    text = re.sub(r"(?<=[ \[{])/(etc|var|run)/", f"{tmp_path}/\\1/", text)
    (tmp_path / "zocalod.yaml").write_text(text)
    return tmp_path / "zocalod.yaml"


def check(file: Path) -> subprocess.CompletedProcess[str]:
    command = [COMMANDS / "zocalod", "--config", file, "--check"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_a_good_configuration(file, tmp_path):
    text = file.read_text().replace("site_environment: live", "site_environment: default")
    text = re.sub(r"^site.*\n", "", text, flags=re.MULTILINE)
    found = check(usable(text, tmp_path))
    assert (found.returncode, found.stderr) == (0, "")


def test_what_is_commented_out_is_good_too(tmp_path):
    shown = re.sub(r"^#(?! )|^#(?=  )", "", (ETC / "zocalod.yaml").read_text(), flags=re.MULTILINE)
    assert "spotfinder:" in re.sub("#.*", "", shown)
    shown = re.sub(r"^site.*\n|^ *user: mx.*\n|^ *preload:.*\n", "", shown, flags=re.MULTILINE)
    shown = shown.replace("/opt/dials/bin/python", sys.executable)
    shown = shown.replace("mypackage.services:SpotFinder", "Dispatcher")
    found = check(usable(shown, tmp_path))
    assert found.stderr == ""
    assert "spotfinder: 8 x Dispatcher" in found.stdout


def test_logrotate_moves_the_log_away_and_the_daemon_goes_on_in_another(daemon, tmp_path):
    log = tmp_path / "logs/zocalod.log"
    log.parent.mkdir(mode=0o755)
    d = daemon(
        {"fragile": {"class": "trial:Quitter", "restart": {"policy": "never"}}}, log={"file": str(log)}
    )
    d.start(ready=False)
    wait_until(lambda: log.exists() and "starts" in log.read_text())
    rules = (ETC / "logrotate").read_text().replace("/var/log/zocalo", str(log.parent))
    (tmp_path / "rules").write_text(rules.replace("    su zocalo zocalo\n", ""))
    rotate = ["logrotate", "--force", "--state", tmp_path / "state.logrotate", tmp_path / "rules"]
    done = subprocess.run(rotate, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    d.ctl("reload")
    wait_until(lambda: log.exists() and "nothing has changed" in log.read_text())
    assert "starts" in log.with_name("zocalod.log.1").read_text()
