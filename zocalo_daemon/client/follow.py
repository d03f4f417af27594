"""zocaloctl logs, events: what was written and what happened, and what goes on to happen."""

from __future__ import annotations

import sys
import time

from zocalo_daemon.client import output
from zocalo_daemon.client.connection import Missed
from zocalo_daemon.client.table import clean, lines_of, paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import Any

    from zocalo_daemon.client.connection import Connection

# Given up; a new worker that did not become ready; what died, and the message that it died of.
BAD_EVENTS = ("failed", "kept", "crashed", "dead-lettered")
LEVELS = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"), (0, "DEBUG"))  # as logging has them


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="SERVICE[/N]", help="only of these: names or patterns")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument("-n", "--lines", type=_count, default=100, metavar="N", help="of the past (100)")


logs_options = events_options = _options


def logs(daemon: Connection, options: Namespace) -> int:
    """Print what services wrote."""
    return _print(daemon, options, "logs", _log_lines)


def events(daemon: Connection, options: Namespace) -> int:
    """Print what happened to workers."""
    return _print(daemon, options, "events", _event_lines)


def _print(
    daemon: Connection, options: Namespace, op: str, render: Callable[[dict[str, Any], bool], list[str]]
) -> int:
    args = {"targets": options.targets, "lines": options.lines, "follow": options.follow}
    items = daemon.stream(op, args)
    if options.json and not options.follow:
        sys.stdout.write(output.json_text([_plain(item) for item in items]))
        return 0
    if options.follow:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    colour = output.use_colour()
    for item in items:
        if options.json:
            sys.stdout.write(output.json_text(_plain(item), one_line=True))
        elif isinstance(item, Missed):
            sys.stdout.write(f"-- {item} missed: they came faster than they could be shown\n")
        else:
            sys.stdout.write("\n".join(render(item, colour)) + "\n")
    return 0


def _plain(item: Any) -> Any:
    return {"missed": int(item)} if isinstance(item, Missed) else item


def _log_lines(item: dict[str, Any], colour: bool) -> list[str]:
    level = item.get("level") or 0
    name = next(name for least, name in LEVELS if level >= least)
    first, *more = lines_of(item.get("text"))
    line = f"{_clock(item.get('time'))} {clean(item.get('id'))} {name} {first}"
    if colour and level >= 30:
        line = paint(line, "red" if level >= 40 else "yellow")
    return [line, *("    " + each for each in more)]


def _event_lines(item: dict[str, Any], colour: bool) -> list[str]:
    first, *more = lines_of(item.get("text") or "")
    parts = [_clock(item.get("time")), item.get("id"), item.get("event"), first]
    line = " ".join(clean(part) for part in parts if part)
    if colour and item.get("event") in BAD_EVENTS:
        line = paint(line, "red")
    return [line, *("    " + each for each in more)]


def _clock(seconds: float | None) -> str:
    """Return a time of the machine that this runs on, to the millisecond."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole)) + f".{int((seconds - whole) * 1000):03d}"


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


_count.__name__ = "number of lines"  # argparse names the type by it in its message
