"""zocaloctl recipe check, recipe show: they need no daemon."""

from __future__ import annotations

import sys

from zocalo_daemon.client import output, recipe
from zocalo_daemon.client.table import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection


def recipe_check_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `recipe check`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recipes as JSON")


def recipe_show_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `recipe show`."""
    parser.add_argument("file", metavar="FILE", help="a recipe as JSON")


def recipe_check(_daemon: Connection, options: Namespace) -> int:
    """Say what is wrong with each file; 1 if anything is."""
    found = {path: recipe.check_file(path) for path in options.files}
    if options.json:
        sys.stdout.write(output.json_text(found))
    else:
        for path, problems in found.items():
            for text in problems or ["ok"]:
                sys.stdout.write(f"{clean(path)}: {clean(text)}\n")
    return 1 if any(found.values()) else 0


def recipe_show(_daemon: Connection, options: Namespace) -> int:
    """Draw a recipe."""
    sys.stdout.write(recipe.show_file(options.file) + "\n")
    return 0
