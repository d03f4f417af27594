"""zocaloctl dlq: dead letters at the broker, and those that `dlq purge` has put into files."""

from __future__ import annotations

import sys
import time

from zocalo_daemon.client import locations, output
from zocalo_daemon.client.table import clean, cut, size, table_with_notes
from zocalo_daemon.errors import UsageError, ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

BROKER_TIMEOUT = 60  # seconds; a broker with many queues takes its time
LETTERS = (">ID", "QUEUE", "FROM", "DIED", ">SIZE", "BODY", "REASON")
SPARE = ("BODY", "FROM", ">SIZE")  # on a narrow terminal
PREVIEW = 60  # columns of a body
PREFIXES = ("dlq.", "DLQ.")


def dlq_list_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `dlq list`."""
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="only these queues: names or patterns")
    parser.add_argument("-n", "--limit", type=int, default=100, metavar="N", help="no more than N (100)")
    parser.add_argument("--transport", metavar="NAME", help="only of this transport")


def dlq_check_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `dlq check`."""
    parser.add_argument(
        "-n", "--namespace", metavar="NAME", help="only queues of this namespace: NAME.* (not of RabbitMQ)"
    )
    parser.add_argument("--transport", metavar="NAME", help="only of this transport")


def _dead_letter_options(parser: ArgumentParser, metavar: str, what: str) -> None:
    parser.add_argument("queues", nargs="*", metavar=metavar, help=what)
    parser.add_argument(
        "--id", type=int, action="append", dest="ids", metavar="N", help="only this one; may be given again"
    )


def dlq_purge_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `dlq purge`."""
    _dead_letter_options(parser, "QUEUE", "of these queues: names or patterns")
    parser.add_argument("--yes", action="store_true", help="purge every dead-letter queue if none is named")
    parser.add_argument(
        "--location",
        metavar="DIR",
        help="write each into a file below DIR before it is deleted (default: $ZOCALO_DLQ_PURGE_LOCATION, "
        "else zocalo.dlq.purge_location of the site)",
    )
    parser.add_argument("--transport", metavar="NAME", help="only of this transport")
    parser.add_argument("--discard", action="store_true", help="write no files, whatever the site says")
    parser.add_argument("--wait", type=float, metavar="S", help="go on until none has come for S seconds")


def dlq_reinject_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `dlq reinject`."""
    what = "queues (names or patterns) whose dead letters go back, or files (with a slash; - lists them)"
    _dead_letter_options(parser, "QUEUE|FILE", what)
    add = parser.add_argument
    add("-d", "--destination", metavar="QUEUE", help="send them there instead")
    add("-r", "--remove", action="store_true", help="delete each file once its message is safe")
    add("-v", "--verbose", action="store_true", help="show what is in the files")
    add("-w", "--wait", type=float, metavar="S", help="wait S seconds between two files")
    add(
        "--transport",
        metavar="NAME",
        help="only of this one; of files: by this one, not where each came from",
    )
    add("--prefix", metavar="NAME.", help="namespace that files of zocalo, and scripts, have in destinations")


def dlq_list(daemon: Connection, options: Namespace) -> int:
    """Show dead letters."""
    args = {"queues": options.queues, "limit": options.limit}
    args |= {"transport": options.transport} if options.transport else {}
    value = daemon.call("dlq.list", args, BROKER_TIMEOUT)
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


def dlq_check(daemon: Connection, options: Namespace) -> int:
    """Count dead letters as `zocalo.dlq_check` does; 1 if there are any."""
    args = {"patterns": None, "transport": options.transport}
    found = [one for one in daemon.call("queues", args, BROKER_TIMEOUT) if one.get("dead_letters")]
    if options.namespace:
        named = {
            one.get("name") for one in daemon.call("status").get("transports", ())
            if one.get("driver") != "rabbitmq"
        }  # fmt: skip
        found = [
            one for one in found
            if one.get("transport") not in named or _bare(one["name"]).startswith(f"{options.namespace}.")
        ]  # fmt: skip
    counts = [(one["name"], one.get("ready", 0) + one.get("unsettled", 0)) for one in found]
    counts = [(name, count) for name, count in counts if count]
    total = sum(count for _, count in counts)
    lines = [f"DLQ for {clean(_bare(name))} contains {count} entries" for name, count in counts]
    lines += [] if total else ["No DLQ messages found"]
    _print(dict(counts), options, lines)
    if total:
        raise ZocaloError(f"Total of {total} DLQ messages found")
    return 0


def _bare(queue: str) -> str:
    return next((queue.removeprefix(one) for one in PREFIXES if queue.startswith(one)), queue)


def dlq_purge(daemon: Connection, options: Namespace) -> int:
    """Delete dead letters, or move them into files."""
    if options.ids and not options.queues:
        raise UsageError("name the queue that these ids are in")
    if options.discard and (options.location or options.wait is not None):
        raise UsageError("--discard is for dead letters that nobody wants: no --location, no --wait")
    location = None if options.discard else locations.find(daemon, locations.PURGE, options.location)
    if location:
        from zocalo_daemon.client import saving

        return saving.purge(daemon, location, options)
    if options.wait is not None:
        raise UsageError("--wait needs --location, or a site that says where dead letters go")
    if not options.queues and not options.yes:
        raise UsageError(
            "name the queues to purge, give --location for files, or --yes for every dead-letter queue"
        )
    args = {"queues": options.queues, "ids": options.ids}
    args |= {"transport": options.transport} if options.transport else {}
    value = daemon.call("dlq.purge", args, BROKER_TIMEOUT)
    return _changed(value, options, "deleted")


def dlq_reinject(daemon: Connection, options: Namespace) -> int:
    """Send dead letters back, from the broker or from files."""
    from zocalo_daemon.client import reinjecting

    paths = None if options.ids else reinjecting.names_of(options.queues)
    if paths is not None:
        return reinjecting.reinject(daemon, paths, options)
    for_files = ("remove", "verbose", "wait", "prefix")
    given = [name for name in for_files if getattr(options, name)]
    if given:
        raise UsageError(f"--{given[0]} is for files; a file of this directory is ./NAME")
    if options.ids and not options.queues:
        raise UsageError("name the queue that these ids are in")
    args = {"queues": options.queues, "ids": options.ids, "destination": options.destination}
    args |= {"transport": options.transport} if options.transport else {}
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
