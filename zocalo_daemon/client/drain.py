"""zocaloctl drain: moves the messages of a queue to another one, or to where their recipes say."""

from __future__ import annotations

import sys
import time

from zocalo_daemon.client import output
from zocalo_daemon.client.table import clean
from zocalo_daemon.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection

BROKER_TIMEOUT = 60  # seconds, for one message
EVERY = 0.5  # seconds between looks at an empty queue: no broker tells a bystander of new messages


def drain_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `drain`, which are those of `zocalo.queue_drain`."""
    add = parser.add_argument
    add("source", metavar="SRC", help="queue to take from")
    add("destination", metavar="DEST", help="queue to put into; . is where the recipe of each message says")
    add("--wait", type=float, default=5, metavar="S", help="wait S seconds between two messages (5)")
    add(
        "--stop", type=float, default=60, metavar="S",
        help="end when none has come for S seconds (60); 0: never",
    )  # fmt: skip
    add("--transport", metavar="NAME", help="of the pool; default: the daemon's default")


def drain(daemon: Connection, options: Namespace) -> int:
    """Move messages until no more come.

    Raises:
        UsageError: source and destination are the same queue.
        ZocaloError: a message cannot be moved; it is where it was, and those behind it are.
    """
    if options.source == options.destination:
        raise UsageError(f"{options.source} would be drained into itself, for ever")
    where = "automatically determined destinations" if options.destination == "." else options.destination
    _say(options, f"Reading messages from {options.source}\nWriting messages to {where}")
    args = {
        "queue": options.source,
        "destination": None if options.destination == "." else options.destination,
        "transport": options.transport,
    }
    begin = last = time.monotonic()
    count = 0
    while True:
        moved = daemon.call("drain", args, BROKER_TIMEOUT)
        now = time.monotonic()
        if moved is not None:
            last, count = now, count + 1
            _tell(moved, count, now - begin, options)
        elif options.stop and now - last >= options.stop:
            break
        time.sleep(EVERY if moved is None else options.wait)
        last = time.monotonic() if moved is not None else last
    _say(options, f"{count} message(s) drained, no message seen for {now - last:.1f} seconds")
    if options.json:
        sys.stdout.write(output.json_text({"count": count}, one_line=True))
    return 0


def _tell(moved: dict[str, str | None], count: int, seconds: float, options: Namespace) -> None:
    if options.json:
        sys.stdout.write(output.json_text(moved, one_line=True))
        return
    lines = [""]
    if moved.get("recipe_id"):
        lines.append(f"Recipe ID:    {moved['recipe_id']}")
    if options.destination == ".":
        lines.append(f"Target Queue: {moved['destination']}")
    _say(options, "\n".join([*lines, f"{count:4d} message(s) drained in {seconds:.1f} seconds"]))


def _say(options: Namespace, text: str) -> None:
    if not options.json:
        sys.stdout.write("".join(f"{clean(line)}\n" for line in text.split("\n")))
        sys.stdout.flush()
