"""zocaloctl cluster, shutdown: the services of all hosts that share a broker, ours and those of zocalo."""

from __future__ import annotations

import json
import socket
import sys

from zocalo_daemon.client import output
from zocalo_daemon.client.submit import deliver
from zocalo_daemon.client.table import clean, duration, table_with_notes, wrapped
from zocalo_daemon.errors import NotRunning, Unavailable, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

HEADING = ("HOST", "SERVICE", "CLASS", "STATUS", ">BUSY", "INSTANCE", "TAG", "WORKFLOWS", ">SEEN", "")
SPARE = ("WORKFLOWS", "TAG", "INSTANCE", ">BUSY", "CLASS")  # what a narrow terminal goes without
SILENT = 15.0  # seconds, after which a status has expired
ROUND = 6.5  # seconds in which every process has told its status
NEWS = 15.0  # seconds that a command is worth anything
AT_WORK = ("3", "4")  # of utilization: timer event, processing


def cluster_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `cluster`."""
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="only hosts, services or classes of such names"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="show it anew each second until Ctrl-C")


def cluster(daemon: Connection, options: Namespace) -> int:
    """Show every service of every host."""
    if options.watch:
        from zocalo_daemon.client.watch import watch

        daemon.call("version")  # without a daemon there is nothing to watch; one that goes away may come back
        return watch(lambda columns: _show_or_say(daemon, options, columns), options.json)
    sys.stdout.write(_show(daemon, options, output.terminal_columns()))
    return 0


def _show_or_say(daemon: Connection, options: Namespace, columns: int | None) -> str:
    try:
        return _show(daemon, options, columns)
    except (NotRunning, Unavailable) as e:
        daemon.close()
        error = {"code": e.code, "message": e.message}
        return output.json_text({"error": error}, one_line=True) if options.json else clean(e.message) + "\n"


def _show(daemon: Connection, options: Namespace, columns: int | None) -> str:
    document = daemon.call("cluster")
    document["services"] = chosen(document.get("services", ()), options.patterns)
    if options.json:
        return output.json_text(document, options.watch)
    return "\n".join(render(document, columns, output.use_colour())) + "\n"


def chosen(services: Any, patterns: list[str]) -> list[dict[str, Any]]:
    """Return the statuses whose host, service, class or instance matches a pattern; all without one."""
    if not patterns:
        return list(services)
    from fnmatch import fnmatchcase

    names = ("host", "service", "serviceclass", "instance")
    return [
        one for one in services if any(fnmatchcase(str(one.get(n, "")), p) for n in names for p in patterns)
    ]


def render(document: dict[str, Any], columns: int | None, colour: bool) -> list[str]:
    """Return the lines of a document; `columns` of the terminal, None for lines as long as they get."""
    services = sorted(document["services"], key=_place)
    machines = {str(one.get("host")).rpartition(".")[0] for one in services}
    lines = [f"{_number(len(services), 'service')} on {_number(len(machines), 'host')}"]
    if services:
        rows = [_row(one) for one in services]
        lines += ["", *table_with_notes(HEADING, rows, columns, colour, SPARE)]
    notes = [
        f"{one.get('name')}: {one['trouble']}" for one in document.get("transports", ()) if one.get("trouble")
    ]
    if document.get("listening_s", ROUND) < ROUND:
        notes.append(
            f"listens since {duration(document.get('listening_s'))}: services tell their status every 6 s"
        )
    for note in map(clean, notes):
        lines += ["", *(wrapped(note, columns) if columns else [note])]
    return lines


def _place(status: dict[str, Any]) -> tuple[bool, str, str]:
    service = str(status.get("service") or "")
    return not service, service, str(status.get("host"))


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _row(status: dict[str, Any]) -> list[object]:
    seen = status.get("seen_s") or 0.0
    shares = status.get("utilization")
    busy = sum(share for state, share in shares.items() if state in AT_WORK) if shares else None
    return [
        status.get("host"),
        status.get("service") or "none",
        status.get("serviceclass"),
        status.get("statustext") or status.get("status"),
        None if busy is None else f"{busy:.0%}",
        status.get("instance"),
        status.get("tag") or status.get("task"),
        status.get("workflows"),
        duration(seen),
        "silent" if seen > SILENT else None,
    ]


def shutdown_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `shutdown`."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST.PID", help="processes, by the HOST that zocaloctl cluster shows"
    )
    parser.add_argument(
        "--host", action="append", default=[], dest="more", metavar="HOST.PID", help="the same"
    )
    parser.add_argument(
        *("-s", "--service"),
        action="append",
        default=[],
        dest="services",
        metavar="SERVICE",
        help="all instances on all hosts, by class or entry point; none: processes without a service",
    )
    parser.add_argument("--transport", metavar="NAME", help="of the pool; default: the daemon's default")


def shutdown(daemon: Connection, options: Namespace) -> int:
    """Broadcast that processes shall stop."""
    hosts = [full_host(host, socket.gethostname()) for host in (*options.hosts, *options.more)]
    services = [None if name.lower() == "none" else name for name in options.services]
    if not hosts and not services:
        raise UsageError("say what to shut down: HOST.PID as zocaloctl cluster shows it, or --service")
    told: list[dict[str, Any]] = []
    for key, names in (("host", hosts), ("service", services)):
        for name in names:
            command = {"command": "shutdown", key: name}
            _broadcast(daemon, command, options.transport)
            told.append(command)
            said = "Shutting down" if key == "host" else "Stopping all instances of"
            if not options.json:
                sys.stdout.write(clean(f"{said} {name}") + "\n")
    if options.json:
        sys.stdout.write(output.json_text(told))
    return 0


def full_host(host: str, here: str) -> str:
    """Return a host as it is broadcast: `machine.pid` alone is of the domain of this one, `here`."""
    domain = ".".join(reversed(here.split(".")[1:]))
    return f"{domain}.{host}" if domain and host.count(".") == 1 else host


def _broadcast(daemon: Connection, command: dict[str, Any], transport: str | None) -> None:
    # With an expiration it is not spooled: it must not reach those who come up tomorrow.
    body = json.dumps(command).encode()
    args: dict[str, Any] = {"topic": "command", "body": body, "headers": {}, "delay": None}
    deliver(daemon, "broadcast", {**args, "expiration": NEWS, "transport": transport})
