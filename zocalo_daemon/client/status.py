"""zocaloctl status: one screen that says first what does not run, and why."""

from __future__ import annotations

import sys
import time

from zocalo_daemon.client import output
from zocalo_daemon.client.table import clean, duration, paint, size, table_with_notes, wrapped
from zocalo_daemon.errors import NotRunning, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

NOT_ALL_RUNNING = 3
FEW = 20  # instances; more are summed up by service
FEW_PROBLEMS = 8  # per service; more are counted
FINE = ("ready", "running", "loaded", "connected", None)
HEADING = (
    "INSTANCE",
    "STATE",
    ">PID",
    ">UPTIME",
    ">RESTARTS",
    ">PROCESSED",
    ">IN FLIGHT",
    ">RSS",
    ">PSS",
    ">CPU",
    "WHY",
)

# What a narrow terminal goes without, the first ones first.
SPARE = (">RSS", ">CPU", ">IN FLIGHT", ">PSS", ">PROCESSED", ">RESTARTS")

Document = dict[str, "Any"]


status_plain = {"services": [], "watch": False, "all": False}  # what these are without arguments


def status_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `status`."""
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these: names or patterns")
    parser.add_argument("-w", "--watch", action="store_true", help="show it anew each second until Ctrl-C")
    parser.add_argument("-a", "--all", action="store_true", help="a line for each instance, however many")


def status(daemon: Connection, options: Namespace) -> int:
    """Show the status; 3 if something that should run does not."""
    if options.watch:
        from zocalo_daemon.client.watch import watch

        daemon.call("version")  # without a daemon there is nothing to watch; one that goes away may come back
        return watch(lambda columns: _show_or_say(daemon, options, columns), options.json)
    text, all_running = _show(daemon, options, output.terminal_columns())
    sys.stdout.write(text)
    return 0 if all_running else NOT_ALL_RUNNING


def _show_or_say(daemon: Connection, options: Namespace, columns: int | None) -> str:
    try:
        return _show(daemon, options, columns)[0]
    except (NotRunning, Unavailable) as e:
        daemon.close()
        error = {"code": e.code, "message": e.message}
        return output.json_text({"error": error}, one_line=True) if options.json else clean(e.message) + "\n"


def _show(daemon: Connection, options: Namespace, columns: int | None) -> tuple[str, bool]:
    document = daemon.call("status", {"services": options.services})
    if options.json:
        return output.json_text(document, options.watch), all_running(document)
    each = options.all or bool(options.services)
    lines = render(document, each=each, columns=columns, colour=output.use_colour())
    return "\n".join(lines) + "\n", all_running(document)


def all_running(document: Document) -> bool:
    """Tell whether every service has as many ready instances as wanted, and none is stopped or ill."""
    return not any(_is_problem(service) for service in document.get("services", ()))


def _is_problem(service: Document) -> bool:
    instances = service.get("instances", ())
    # An instance that drains is either replaced already, or missing among the ready ones.
    return sum(map(_is_fine, instances)) < service.get("wanted", 0) or any(
        instance.get("state") not in ("ready", "draining") for instance in instances
    )


def render(document: Document, *, each: bool, columns: int | None, colour: bool) -> list[str]:
    """Return the lines of a status document.

    Args:
        each: a line for every instance; otherwise only if there are few.
        columns: of the terminal, which the lines are fitted to; None for lines as long as they get.
    """
    services = sorted(document.get("services", ()), key=lambda service: not _is_problem(service))
    instances = sum(len(service.get("instances", ())) for service in services)
    rows = []
    for service in services:
        rows += _each(service) if each or instances <= FEW else _summed(service)
    lines = _headline(document, services, columns, colour)
    if rows:
        lines += ["", *table_with_notes(HEADING, rows, columns, colour, SPARE)]
    transports = _transports(document)
    if transports:
        heading = ("TRANSPORT", "DRIVER", "STATE", "HOST", ">CONNECTIONS", ">SUBSCRIPTIONS", ">UNSETTLED")
        spare = (">SUBSCRIPTIONS", ">CONNECTIONS", ">SPOOLED", "HOST")
        lines += ["", *table_with_notes((*heading, ">SPOOLED", "WHY"), transports, columns, colour, spare)]
    return lines


def _headline(document: Document, services: list[Document], columns: int | None, colour: bool) -> list[str]:
    daemon = document.get("daemon", {})
    ready = sum(_is_fine(instance) for service in services for instance in service.get("instances", ()))
    # What somebody has stopped is not wanted, and is not ready either.
    total = sum(max(service.get("wanted", 0), len(service.get("instances", ()))) for service in services)
    said = f"{ready} of {total} instances ready"
    if colour:
        said = paint(said, "green" if all_running(document) else "red")
    who = (
        f"zocalod {clean(daemon.get('version', '?'))}, pid {daemon.get('pid')}, {clean(daemon.get('state'))}"
    )
    lines = [f"{who}, up {duration(daemon.get('uptime_s'))}: {said}"]
    for relay in relays(document):
        well, name = relay.get("state") in ("starting", *FINE), relay.get("name", "relay")
        whose = "its workers get no message" if len(relays(document)) > 1 else "no message is delivered"
        word = f"'{name}'" if " " in name else name
        do = "" if well else f"{whose}; see zocaloctl logs {word}"
        lines += _helper(name, relay, do, columns)
    for server in daemon.get("forkservers") or ():
        do = "mend it, then: zocaloctl reload" if server.get("state") == "failed" else ""
        lines += _helper(f"forkserver of runtime {server.get('runtime')}", server, do, columns)
    return lines


def _helper(name: str, process: Document, do: str, columns: int | None) -> list[str]:
    """Return the lines about a relay or forkserver, none if it is well."""
    state = "" if process.get("state") in FINE else str(process["state"])
    said = "; ".join(clean(part) for part in (state, process.get("reason"), do) if part)
    if not said:
        return []
    text = f"{clean(name)}: {said}"
    return wrapped(text, columns) if columns else [text]


def _each(service: Document) -> list[list[object]]:
    rows = [_row(instance) for instance in sorted(service.get("instances", ()), key=_is_fine)]
    missing = service.get("wanted", 0) - len(rows)
    if missing > 0 or (service.get("reason") and not rows):
        rows.insert(0, _service_row(service, f"{missing} missing" if missing > 0 else service.get("state")))
    return rows


def _is_fine(instance: Document) -> bool:
    return instance.get("state") == "ready" and not instance.get("stalled")


def _service_row(service: Document, state: object) -> list[object]:
    return [service.get("name"), state, *[None] * 8, service.get("reason")]


def _row(instance: Document, indent: str = "") -> list[object]:
    return [
        indent + str(instance.get("id")),
        instance.get("state"),
        instance.get("pid"),
        duration(instance.get("uptime_s")) if instance.get("pid") else None,
        instance.get("restarts"),
        instance.get("processed"),
        instance.get("in_flight"),
        size(instance.get("rss_bytes") or None) if instance.get("pid") else None,
        size(instance.get("pss_bytes") or None) if instance.get("pid") else None,
        duration(instance.get("cpu_s")) if instance.get("pid") else None,
        _why(instance),
    ]


def _why(instance: Document) -> str | None:
    """Return why it does not run, or not as it should, and what to do about it."""
    state, parts = instance.get("state"), []
    if instance.get("reason"):
        parts.append(str(instance["reason"]))
    elif instance.get("last_exit") and (instance.get("restarts") or not _is_fine(instance)):
        parts.append(f"last exit: {instance['last_exit']}")
    elif state == "starting":
        parts.append("in initializing()" if instance.get("pid") else "its runtime is being loaded")
    elif state == "draining":
        parts.append("finishes the message in hand")
    if instance.get("last_crash"):
        parts.append(f"crash report {instance['last_crash']}")
    if instance.get("next_start_s") is not None:
        parts.append(f"starts in {duration(instance['next_start_s'])}")
    if state == "failed":
        parts.append(f"to try again: zocaloctl start {instance.get('id')}")
    return "; ".join(parts) or None


def _summed(service: Document) -> list[list[object]]:
    """Return one row for a service, and below it those of its instances that are not well."""
    instances = service.get("instances", [])
    if len(instances) == 1 and not service.get("reason"):
        return _each(service)
    alive = [instance for instance in instances if instance.get("pid")]

    def total(key: str) -> Any:
        return sum(instance.get(key) or 0 for instance in instances)

    ready = sum(map(_is_fine, instances))
    state = (
        f"{ready} of {max(service.get('wanted', 0), len(instances))} ready"
        if _is_problem(service)
        else f"{ready} ready"
    )
    youngest = min((instance.get("uptime_s") or 0 for instance in alive), default=None)
    rows: list[list[object]] = [
        [
            service.get("name"),
            state,
            None,
            duration(youngest),
            total("restarts"),
            total("processed"),
            total("in_flight"),
            size(total("rss_bytes")) if alive else None,
            size(total("pss_bytes") or None) if alive else None,
            duration(total("cpu_s")) if alive else None,
            service.get("reason"),
        ]
    ]
    problems = [instance for instance in instances if not _is_fine(instance)]
    rows += [_row(instance, "  ") for instance in problems[:FEW_PROBLEMS]]
    if len(problems) > FEW_PROBLEMS:
        more = f"  and {len(problems) - FEW_PROBLEMS} more"
        rows.append([more, *[None] * 9, f"zocaloctl status {service.get('name')} shows all"])
    return rows


def _transports(document: Document) -> list[list[object]]:
    return [
        [
            transport.get("name"),
            transport.get("driver"),
            transport.get("state"),
            transport.get("host"),
            transport.get("connections"),
            transport.get("subscriptions"),
            transport.get("unsettled"),
            transport.get("spooled"),
            "; ".join(filter(None, (_why_not(transport, document), _spooled(transport)))) or None,
        ]
        for transport in document.get("transports") or ()
    ]


def _why_not(transport: Document, document: Document) -> str | None:
    """Return why a transport is not connected, since when, and when it tries again."""
    if transport.get("state") in FINE:
        return transport.get("detail") or None
    parts = [str(transport.get("detail") or _without_relay(document) or "")]
    if transport.get("since"):
        parts.append(time.strftime("since %Y-%m-%d %H:%M:%S", time.localtime(transport["since"])))
    if transport.get("next_attempt_s") is not None:
        parts.append(f"next attempt in {duration(transport['next_attempt_s'])}")
    return "; ".join(part for part in parts if part) or None


def _spooled(transport: Document) -> str | None:
    """Return how much waits on disk for the broker, and since when."""
    if not transport.get("spooled"):
        return None
    oldest = transport.get("spooled_since")
    age = f", oldest {duration(time.time() - oldest)}" if oldest else ""
    return f"{transport['spooled']} spooled ({size(transport.get('spooled_bytes'))}){age}"


def relays(document: Document) -> list[Document]:
    """Return what a status document says of the relays; an earlier version had one."""
    daemon = document.get("daemon", {})
    return daemon.get("relays") or [daemon.get("relay") or {}]


def _without_relay(document: Document) -> str | None:
    found = [one for one in relays(document) if one.get("state") not in FINE]
    return f"the {found[0].get('name', 'relay')} is {found[0]['state']}" if found else None
