"""zocaloctl wrap: becomes zocalo_daemon.wrapper, which runs one job of a recipe.

A process of its own: what a job needs, workflows first of all, is nothing that the client may import.
"""

from __future__ import annotations

import os

from zocalo_daemon.client.becoming import become
from zocalo_daemon.client.connection import find_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection

# Those of the transports of workflows: they say which broker to use, instead of the daemon's.
FLAGS = {
    **{f"--rabbit-{name}": "RabbitMQ" for name in ("host", "port", "user", "pass", "vhost", "conf")},
    **{f"--stomp-{name}": "ActiveMQ" for name in ("host", "port", "user", "pass", "prfx", "conf")},
}


def wrap_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `wrap`."""
    parser.add_argument("-?", action="help", help="show this help message and exit")
    parser.add_argument(
        "--wrap", metavar="NAME", required=True, help="the job: its name, or package.module:Class"
    )
    parser.add_argument("--recipewrapper", metavar="FILE", help="the step of a recipe that it is, as JSON")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more; twice, still more")
    parser.add_argument(
        "-e",
        "--environment",
        action="append",
        default=[],
        metavar="ENV",
        help="environment of the site configuration to activate; may be repeated",
    )
    parser.add_argument("-t", "--transport", metavar="TRN", help="transport to use, such as PikaTransport")
    for flag, broker in FLAGS.items():
        what = flag.rpartition("-")[2].upper()
        parser.add_argument(flag, metavar=what, help=f"connect to this {broker}, as workflows does")


def wrap(daemon: Connection, options: Namespace) -> int:
    """Run a job; does not return, unless what runs it is not installed.

    Raises:
        ZocaloError: it is not installed, or cannot be run.
    """
    relay = os.path.join(os.path.dirname(daemon.path), "relay.sock")
    named = ["--named"] if daemon.path != find_socket(os.environ) else []
    become(
        "wrapper",
        [*_given(options), f"--relay={relay}", *named],
        lacking="wrappers do not run here",
        remedy="install all of zocalo-daemon where jobs run",
        outside=True,
    )


def _given(options: Namespace) -> list[str]:
    """Return the arguments that make these options."""
    given = ["-v"] * options.verbose
    for name, value in vars(options).items():
        if name in ("socket", "json", "verbose") or value is None:
            continue
        flag = f"--{name.replace('_', '-')}"
        given += [f"{flag}={one}" for one in (value if isinstance(value, list) else [value])]
    return given
