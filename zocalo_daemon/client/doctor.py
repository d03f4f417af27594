"""zocaloctl doctor: becomes the doctor, a part of the daemon's side that knows what the client must not.

A process of its own, so that no other command pays for importing the configuration.
"""

from __future__ import annotations

import os
import sys

import zocalo_daemon
from zocalo_daemon.errors import ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection

MODULE = "zocalo_daemon.doctor.main"


def doctor_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `doctor`."""
    parser.add_argument(
        "--config", metavar="FILE", help="zocalod.yaml to check; default: that of the daemon that runs"
    )


def doctor(daemon: Connection, options: Namespace) -> int:
    """Say what is wrong here; does not return, unless the doctor is not installed.

    Raises:
        ZocaloError: it is not installed, or cannot be run.
    """
    directory = os.path.join(os.path.dirname(zocalo_daemon.__file__), "doctor")
    if not os.path.exists(os.path.join(directory, "main.py")):
        raise ZocaloError(
            f"there is no doctor here ({directory} is missing): this is zocaloctl without the daemon; "
            "install all of zocalo-daemon, or run it where zocalod is installed"
        )
    # Without the working directory on the path: root may well be in a directory that is somebody else's.
    flag = "-I" if sys.flags.isolated else "-P"
    arguments = [sys.executable, flag, "-m", MODULE, "--socket", daemon.path]
    arguments += ["--named"] if daemon.named else []
    arguments += ["--json"] if options.json else []
    arguments += ["--config", options.config] if options.config else []
    sys.stdout.flush()
    try:
        os.execve(sys.executable, arguments, os.environ)  # noqa: S606  (no shell is what is wanted)
    except OSError as e:
        raise ZocaloError(f"cannot run {sys.executable}: {e.strerror}") from None
