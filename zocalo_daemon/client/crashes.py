"""zocaloctl crashes: which workers have died, and all that is known about one of them."""

from __future__ import annotations

import sys
import time

from zocalo_daemon.client import output
from zocalo_daemon.client.follow import LEVELS
from zocalo_daemon.client.table import clean, duration, lines_of, paint, size, table_with_notes
from zocalo_daemon.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

    from zocalo_daemon.client.connection import Connection

HEADING = (">ID", "WHEN", "INSTANCE", "CAUSE", "MESSAGE OF", "THEN", "WHAT")
SPARE = ("THEN", "MESSAGE OF")  # on a narrow terminal

Report = dict[str, "Any"]


def crashes_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `crashes`."""
    parser.add_argument(
        "targets", nargs="*", metavar="ID|SERVICE[/N]", help="that report in full, or the list of only these"
    )
    parser.add_argument("-n", "--limit", type=int, default=50, metavar="N", help="no more than N (50)")


def crashes(daemon: Connection, options: Namespace) -> int:
    """Show the list, or each of the reports whose numbers are given."""
    numbers = [int(target) for target in options.targets if target.isascii() and target.isdigit()]
    if not numbers:
        return _list(daemon, options)
    if len(numbers) < len(options.targets):
        raise UsageError("give either numbers of crash reports or names of services")
    reports = [daemon.call("crashes", {"id": number}) for number in numbers]
    if options.json:
        sys.stdout.write(output.json_text(reports[0] if len(reports) == 1 else reports))
        return 0
    colour = output.use_colour()
    sys.stdout.write("\n\n".join("\n".join(render(report, colour)) for report in reports) + "\n")
    return 0


def _list(daemon: Connection, options: Namespace) -> int:
    if options.limit < 1:
        raise UsageError("--limit must be 1 or more")
    found = daemon.call("crashes", {"targets": options.targets})["crashes"][-options.limit :]
    if options.json:
        sys.stdout.write(output.json_text(found))
        return 0
    rows = [
        [
            crash.get("id"),
            _clock(crash.get("time")),
            crash.get("instance"),
            crash.get("cause"),
            crash.get("queue"),
            "dead-lettered" if crash.get("dead_lettered") else None,
            crash.get("text"),
        ]
        for crash in found
    ]
    lines = table_with_notes(HEADING, rows, output.terminal_columns(), output.use_colour(), SPARE)
    sys.stdout.write("\n".join(lines if rows else ["no crash reports"]) + "\n")
    return 0


def render(report: Report, colour: bool) -> list[str]:
    """Return the lines of a report."""
    head = f"crash report {report.get('id')}: {clean(report.get('instance'))}, {_clock(report.get('time'))}"
    why = f"{(report.get('exit') or {}).get('text')}: {report.get('text')}"
    lines = [paint(head, "bold") if colour else head]
    lines += [paint(line, "red") if colour else line for line in lines_of(why)]
    lines += ["", *(f"{name:<12}{clean(value)}" for name, value in _facts(report) if value)]
    for title, section in _sections(report):
        lines += ["", paint(title, "bold") if colour else title, *("  " + line for line in section)]
    return lines


def _facts(report: Report) -> Iterator[tuple[str, str | None]]:
    yield "service", f"{report.get('service')}, class {report.get('class')}, runtime {report.get('runtime')}"
    yield "process", f"pid {report.get('pid')}, started {_clock(report.get('started')) or 'at no known time'}"
    ready = _clock(report.get("ready"))
    yield "ready", f"{ready}, lived {duration(report.get('uptime_s'))}" if ready else "it never became ready"
    yield "used", f"{size(report.get('max_rss_bytes'))} of memory at most, {report.get('cpu_s')} s of CPU"
    delivery = report.get("delivery")
    yield "in hand", _in_hand(delivery, report) if delivery else "no message, or none that is known"
    silent = report.get("silent_s")
    yield "callback", f"no sign of progress for {duration(silent)}" if silent is not None else None
    crashes = [str(number) for number in (delivery or {}).get("crashes") or () if number]
    if len(crashes) > 1:
        yield "crashes", f"this message is in the reports {', '.join(crashes)}"
    if report.get("dead_lettered"):
        yield "then", f"the message was dead-lettered: {(delivery or {}).get('reason')}"
    if report.get("not_reported"):
        yield "besides", f"{report['not_reported']} crashes of the service before it have no report"
    yield "zocalod", report.get("version")


def _in_hand(delivery: Report, report: Report) -> str:
    since = report.get("in_hand_s")
    parts = [f"a message of queue {delivery.get('queue')}, transport {delivery.get('transport')}"]
    parts += [f"for {duration(since)}"] if since is not None else []
    parts += ["delivered before"] if delivery.get("redelivered") else []
    return ", ".join(parts)


def _sections(report: Report) -> Iterator[tuple[str, list[str]]]:
    if report.get("traceback"):
        yield "traceback", [line for each in report["traceback"] for line in lines_of(each)]
    delivery = report.get("delivery")
    if delivery:
        headers = [
            f"{clean(name)}: {clean(value)}" for name, value in (delivery.get("headers") or {}).items()
        ]
        yield f"message, {size(delivery.get('size'))}", [*headers, *_body(delivery)]
    log = [line for item in report.get("log") or () for line in _log_lines(item)]
    if log:
        yield "the last lines of its log", log


def _body(delivery: Report) -> list[str]:
    body = delivery.get("body")
    text = body if isinstance(body, str) else output.json_text(body, one_line=True)
    cut = delivery.get("cut")
    return [*lines_of(text), *([f"... and {cut} bytes more"] if cut else [])]


def _log_lines(item: Report) -> list[str]:
    level = item.get("level") or 0
    name = next(name for least, name in LEVELS if level >= least)
    when = time.strftime("%H:%M:%S", time.localtime(item.get("time") or 0))
    first, *more = lines_of(item.get("text"))
    return [f"{when} {name} {first}", *more]


def _clock(seconds: float | None) -> str | None:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else None
