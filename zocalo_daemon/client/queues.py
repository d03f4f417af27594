"""zocaloctl queues, dlq: how full the queues are, and what to do about dead letters."""

from __future__ import annotations

import sys
import time

from zocalo_daemon.client import output
from zocalo_daemon.client.table import clean, cut, size, table, table_with_notes
from zocalo_daemon.errors import UsageError, ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

BROKER_TIMEOUT = 60  # seconds; a broker with many queues takes its time
QUEUES = ("QUEUE", ">READY", ">DELAYED", ">UNSETTLED", ">CONSUMERS", "TRANSPORT", "")
LETTERS = (">ID", "QUEUE", "FROM", "DIED", ">SIZE", "BODY", "REASON")
SPARE = ("BODY", "FROM", ">SIZE")  # on a narrow terminal
PREVIEW = 60  # columns of a body


def queues_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `queues`."""
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="only queues of such names")


def dlq_list_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `dlq list`."""
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="only these queues: names or patterns")
    parser.add_argument("-n", "--limit", type=int, default=100, metavar="N", help="no more than N (100)")


def _dead_letter_options(parser: ArgumentParser) -> None:
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="of these queues: names or patterns")
    parser.add_argument(
        "--id", type=int, action="append", dest="ids", metavar="N", help="only this one; may be given again"
    )


def dlq_purge_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `dlq purge`."""
    _dead_letter_options(parser)
    parser.add_argument("--yes", action="store_true", help="purge every dead-letter queue if none is named")


def dlq_reinject_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `dlq reinject`."""
    _dead_letter_options(parser)
    parser.add_argument("-d", "--destination", metavar="QUEUE", help="send them there instead")


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
    return _print(value, options, table(QUEUES, rows) if rows else ["no queues"])


def dlq_list(daemon: Connection, options: Namespace) -> int:
    """Show dead letters."""
    value = daemon.call("dlq.list", {"queues": options.queues, "limit": options.limit}, BROKER_TIMEOUT)
    rows = [
        [
            letter.get("id"),
            letter.get("queue"),
            letter.get("origin"),
            _clock(letter.get("time")),
            size(letter.get("size", len(letter.get("body") or b""))),
            _preview(letter.get("body") or b""),
            letter.get("reason"),
        ]
        for letter in value
    ]
    lines = table_with_notes(LETTERS, rows, output.terminal_columns(), False, SPARE)
    return _print(value, options, lines if rows else ["no dead letters"])


def dlq_purge(daemon: Connection, options: Namespace) -> int:
    """Delete dead letters."""
    if not options.queues and (options.ids or not options.yes):
        raise UsageError("name the queues to purge, or give --yes for every dead-letter queue")
    value = daemon.call("dlq.purge", {"queues": options.queues, "ids": options.ids}, BROKER_TIMEOUT)
    return _changed(value, options, "deleted")


def dlq_reinject(daemon: Connection, options: Namespace) -> int:
    """Send dead letters back."""
    if options.ids and not options.queues:
        raise UsageError("name the queue that these ids are in")
    args = {"queues": options.queues, "ids": options.ids, "destination": options.destination}
    value = daemon.call("dlq.reinject", args, BROKER_TIMEOUT)
    where = f"to {clean(options.destination)}" if options.destination else "back to where they came from"
    return _changed(value, options, f"sent {where}")


def _changed(value: dict[str, Any], options: Namespace, what: str) -> int:
    """Print how many dead letters a change has met; an id that it has not met is an error."""
    count, wanted = value.get("count", 0), len(set(options.ids or []))
    _print(value, options, [f"{'1 dead letter' if count == 1 else f'{count} dead letters'} {what}"])
    if count < wanted:
        raise ZocaloError(f"{wanted - count} of {wanted} ids not found there; zocaloctl dlq list shows all")
    return 0


def _clock(seconds: float | None) -> str | None:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else None


def _preview(body: bytes | str) -> str:
    text = body if isinstance(body, str) else body[: PREVIEW * 4].decode("utf-8", "backslashreplace")
    return cut(clean(" ".join(text.split())), PREVIEW)


def _print(value: Any, options: Namespace, lines: list[str]) -> int:
    sys.stdout.write(output.json_text(value) if options.json else "\n".join(lines) + "\n")
    return 0
