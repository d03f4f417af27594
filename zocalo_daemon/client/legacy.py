"""zocaloctl legacy-commands: writes programs with the names of zocalo that scripts use.

Not in the directory of zocaloctl itself: zocalo's own may be installed there, and would be overwritten.
"""

from __future__ import annotations

import os
import shlex
import sys

from zocalo_daemon.client import files, output
from zocalo_daemon.client.table import clean
from zocalo_daemon.errors import ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection

MODULE = "zocalo_daemon.legacy"
# The name of zocalo or workflows, and the command of zocaloctl that does the same.
NAMES = {
    "zocalo.go": "go",
    "zocalo.pickup": "pickup",
    "zocalo.wrap": "wrap",
    "zocalo.dlq_check": "dlq check",
    "zocalo.dlq_purge": "dlq purge",
    "zocalo.dlq_reinject": "dlq reinject",
    "zocalo.queue_drain": "drain",
    "zocalo.shutdown": "shutdown",
    "zocalo.configure_rabbitmq": "configure-rabbitmq",
    "workflows.validate_recipe": "recipe check",
}


def legacy_commands_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `legacy-commands`."""
    parser.add_argument("directory", metavar="DIR", help="where to write them; it is made if it is not there")


def legacy_commands(_daemon: Connection, options: Namespace) -> int:
    """Write a program for each name that this version has a command for, and print which.

    Raises:
        ZocaloError: another program of such a name is there, or it cannot be written.
    """
    from zocalo_daemon.client.main import COMMANDS

    names = [name for name, command in NAMES.items() if command in COMMANDS]
    paths = [os.path.join(options.directory, name) for name in names]
    for path in paths:
        if os.path.lexists(path) and not _is_ours(path):
            raise ZocaloError(f"{path} is another program: name a directory of its own for these")
    try:
        os.makedirs(options.directory, exist_ok=True)
        for name, path in zip(names, paths, strict=True):
            # By the shell: the first line of a script takes no path of more than 127 bytes, and no blank.
            program = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m {MODULE} {name} "$@"\n'
            files.write_over(path, program, 0o755)
    except OSError as e:
        raise ZocaloError(f"cannot write to {options.directory}: {e.strerror}") from None
    if options.json:
        sys.stdout.write(output.json_text(paths))
    else:
        sys.stdout.writelines(f"{clean(path)}\n" for path in paths)
    return 0


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return f" -m {MODULE} ".encode() in file.read(4096)
    except OSError:
        return False
