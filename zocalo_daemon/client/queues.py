"""zocaloctl queues: how full the queues are."""

from __future__ import annotations

import sys

from zocalo_daemon.client import output
from zocalo_daemon.client.table import table
from zocalo_daemon.errors import ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection

BROKER_TIMEOUT = 60  # seconds; a broker with many queues takes its time
QUEUES = ("QUEUE", ">READY", ">DELAYED", ">UNSETTLED", ">CONSUMERS", "TRANSPORT", "")


def queues_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `queues`."""
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="only queues of such names")
    parser.add_argument("--transport", metavar="NAME", help="only of this transport")


def queues(daemon: Connection, options: Namespace) -> int:
    """Show the queues, also if one of several brokers does not answer: then that is said besides."""
    problem: ZocaloError | None = None
    args = {"patterns": options.patterns}
    args |= {"transport": options.transport} if options.transport else {}
    try:
        value = daemon.call("queues", args, BROKER_TIMEOUT)
    except ZocaloError as e:
        value, problem = e.data.get("queues"), e
        if not value:
            raise
    rows = [
        [
            queue.get("name"),
            queue.get("ready"),
            queue.get("delayed"),
            queue.get("unsettled"),
            queue.get("consumers"),
            queue.get("transport"),
            "dead letters" if queue.get("dead_letters") else None,
        ]
        for queue in value
    ]
    lines = table(QUEUES, rows) if rows else ["no queues"]
    sys.stdout.write(output.json_text(value) if options.json else "\n".join(lines) + "\n")
    if problem is not None:
        raise problem
    return 0
