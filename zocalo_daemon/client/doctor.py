"""zocaloctl doctor: becomes the doctor, a part of the daemon's side that knows what the client must not.

A process of its own, so that no other command pays for importing the configuration.
"""

from __future__ import annotations

from zocalo_daemon.client.becoming import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection


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
    arguments = ["--socket", daemon.path]
    arguments += ["--named"] if daemon.named else []
    arguments += ["--json"] if options.json else []
    arguments += ["--config", options.config] if options.config else []
    become(
        "doctor",
        arguments,
        lacking="there is no doctor here",
        remedy="install all of zocalo-daemon, or run it where zocalod is installed",
    )
