"""For commands that become another room of the package: a process of its own.

So no other command pays for importing what that room needs, and the client imports nothing of the daemon.
"""

from __future__ import annotations

import os
import sys

import zocalo_daemon
from zocalo_daemon.errors import ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def become(
    room: str, arguments: Sequence[str], *, lacking: str, remedy: str, outside: bool = False
) -> NoReturn:
    """Run the `main` of a room in this process's place.

    The working directory is not on its path: root may well be in a directory that is somebody else's.

    Args:
        room: its folder.
        arguments: for its command line.
        lacking, remedy: what there is to say where it is not installed, and what to do.
        outside: it imports what PYTHONPATH names, even if this interpreter is isolated from that.

    Raises:
        ZocaloError: it is not installed, or cannot be run.
    """
    directory = os.path.join(os.path.dirname(zocalo_daemon.__file__), room)
    if not os.path.exists(os.path.join(directory, "main.py")):
        raise ZocaloError(
            f"{lacking} ({directory} is missing): this is zocaloctl without the daemon; {remedy}"
        )
    flag = "-I" if sys.flags.isolated and not outside else "-P"
    command = [sys.executable, flag, "-m", f"zocalo_daemon.{room}.main", *arguments]
    sys.stdout.flush()
    try:
        os.execve(sys.executable, command, os.environ)  # noqa: S606  (no shell is what is wanted)
    except OSError as e:
        raise ZocaloError(f"cannot run {sys.executable}: {e.strerror}") from None
