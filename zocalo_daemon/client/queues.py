"""zocaloctl queues: how full the queues are."""

from __future__ import annotations

import sys

from zocalo_daemon.client import output
from zocalo_daemon.client.table import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection

BROKER_TIMEOUT = 60  # seconds; a broker with many queues takes its time
QUEUES = ("QUEUE", ">READY", ">DELAYED", ">UNSETTLED", ">CONSUMERS", "TRANSPORT", "")


def queues_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `queues`."""
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="only queues of such names")


def queues(daemon: Connection, options: Namespace) -> int:
    """Show the queues."""
    value = daemon.call("queues", {"patterns": options.patterns}, BROKER_TIMEOUT)
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
    return 0
