"""zocaloctl version: what is installed here, and what is running."""

from __future__ import annotations

import sys

from zocalo_daemon import __version__
from zocalo_daemon.client import output
from zocalo_daemon.client.table import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection


def version_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `version`: none."""


def version(daemon: Connection, options: Namespace) -> int:
    """Print the versions of client and daemon."""
    if not options.json:
        sys.stdout.write(f"zocaloctl {__version__}\n")
        sys.stdout.flush()  # the daemon may not be there
    value = daemon.call("version")
    if options.json:
        sys.stdout.write(output.json_text({"client": __version__, "daemon": value}))
    else:
        lowest, highest = value.get("protocol") or (1, 1)
        speaks = f"protocol {lowest}" if lowest == highest else f"protocols {lowest} to {highest}"
        sys.stdout.write(
            f"zocalod {clean(value.get('version'))}, pid {value.get('pid')}, "
            f"Python {clean(value.get('python'))}, {speaks}, at {clean(daemon.path)}\n"
        )
    return 0
