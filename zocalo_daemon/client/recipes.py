"""zocaloctl recipe check, recipe show: they need no daemon."""

from __future__ import annotations

from zocalo_daemon.client import recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection


def recipe_check_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `recipe check`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recipes as JSON; - is standard input")


def recipe_show_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `recipe show`."""
    parser.add_argument("file", metavar="FILE", help="a recipe as JSON; - is standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--svg", action="store_const", dest="form", const="svg", default="text", help="a picture for browsers"
    )
    form.add_argument(
        "--dot", action="store_const", dest="form", const="dot", help="the language of Graphviz"
    )


def recipe_check(_daemon: Connection, options: Namespace) -> int:
    """Say what is wrong with each file; 1 if anything is."""
    return recipe.run_check(options.files, options.json)


def recipe_show(_daemon: Connection, options: Namespace) -> int:
    """Draw a recipe; 1 if it cannot be drawn."""
    return recipe.run_show(options.file, options.json, options.form)
