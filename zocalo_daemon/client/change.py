"""zocaloctl start, stop, restart, scale, reload, reexec: asks for a change and says what became of it."""

from __future__ import annotations

import sys

from zocalo_daemon.client import output
from zocalo_daemon.client.table import clean, paint
from zocalo_daemon.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

FEW = 20  # instances; of more, those that went well are only counted


def _waiting(parser: ArgumentParser) -> None:
    parser.add_argument("--no-wait", action="store_true", help="ask for it, and do not wait until it is so")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="wait no longer than S seconds")


def _target_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "targets", nargs="+", metavar="SERVICE[/N]", help="services, instances, patterns ('spot*'), or all"
    )
    _waiting(parser)


start_options = stop_options = restart_options = _target_options


def scale_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `scale`."""
    parser.add_argument("sizes", nargs="+", metavar="SERVICE=N", help="a service and its number of instances")
    _waiting(parser)


def reload_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `reload`."""
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the services to restart")


def reexec_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `reexec`: none."""


def start(daemon: Connection, options: Namespace) -> int:
    """Start instances."""
    return _change(daemon, options, "start", {"targets": options.targets})


def stop(daemon: Connection, options: Namespace) -> int:
    """Stop instances."""
    return _change(daemon, options, "stop", {"targets": options.targets})


def restart(daemon: Connection, options: Namespace) -> int:
    """Restart instances."""
    return _change(daemon, options, "restart", {"targets": options.targets})


def scale(daemon: Connection, options: Namespace) -> int:
    """Change the number of instances of services."""
    return _change(daemon, options, "scale", {"sizes": dict(map(_size, options.sizes))})


def reload(daemon: Connection, options: Namespace) -> int:
    """Have the configuration read again."""
    value = daemon.call("reload", {"wait": not options.no_wait}, timeout=None)
    if options.json:
        return _finish(value, options)
    for line in value.get("changes") or ["nothing has changed"]:
        sys.stdout.write(clean(line) + "\n")
    return _finish(value, options)


def reexec(daemon: Connection, options: Namespace) -> int:
    """Have the daemon replace its own code."""
    value = daemon.call("reexec", timeout=None)
    if options.json:
        sys.stdout.write(output.json_text(value))
    else:
        gap = f"nobody was answered for {1000 * float(value['gap_s']):.0f} ms"
        sys.stdout.write(f"zocalod {clean(value['version'])} has taken over, pid {value['pid']}; {gap}\n")
    return 0


def _change(daemon: Connection, options: Namespace, op: str, args: dict[str, Any]) -> int:
    args["wait"] = not options.no_wait
    args["timeout"] = options.timeout
    return _finish(daemon.call(op, args, timeout=None), options)


def _finish(value: dict[str, Any], options: Namespace) -> int:
    """Print the results; 1 if one of them is bad."""
    results = value.get("results") or []
    if options.json:
        sys.stdout.write(output.json_text(value))
    else:
        colour = output.use_colour()
        for line in _lines(results, colour):
            sys.stdout.write(line + "\n")
    return 0 if all(result.get("ok") for result in results) else 1


def _lines(results: list[dict[str, Any]], colour: bool) -> list[str]:
    bad = [result for result in results if not result.get("ok")]
    good = [result for result in results if result.get("ok")]
    lines = [_line(result, colour) for result in bad]
    if len(good) <= FEW:
        return lines + [_line(result, colour) for result in good]
    states: dict[str, int] = {}
    for result in good:
        states[str(result.get("state"))] = states.get(str(result.get("state")), 0) + 1
    return lines + [f"{count} instances {clean(state)}" for state, count in states.items()]


def _line(result: dict[str, Any], colour: bool) -> str:
    state = clean(result.get("state"))
    if colour:
        state = paint(state, "green" if result.get("ok") else "red")
    message = f": {clean(result['message'])}" if result.get("message") else ""
    return f"{clean(result.get('id'))} {state}{message}"


def _size(text: str) -> tuple[str, int]:
    service, equals, number = text.rpartition("=")
    if not equals or not service or not (number.isascii() and number.isdigit()):
        raise UsageError(f"{text!r} is no SERVICE=N; for example: zocaloctl scale dispatcher=3")
    return service, int(number)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"  # argparse names the type by it in its message
