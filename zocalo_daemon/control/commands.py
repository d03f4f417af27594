"""What a command means for the roster: arguments in, a plan out (pure)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zocalo_daemon.control import targets
from zocalo_daemon.errors import NoSuchService, UsageError
from zocalo_daemon.supervision.actions import Action
from zocalo_daemon.supervision.roster import Roster

MAX_INSTANCES = 2000  # of one service


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of the roster, and what the one who asked waits for.

    Args:
        change: applies it at a given time and returns the actions.
        instances: those that it concerns; None if only the change itself can tell (scale).
        up: they are waited for until they are ready, else until they have stopped.
        wait, timeout: whether to wait at all, and for how many seconds.
    """

    change: Callable[[float], list[Action]]
    instances: Callable[[], list[str]]
    up: bool
    wait: bool
    timeout: float | None


def plan(op: str, args: dict[str, Any], roster: Roster) -> Plan:
    """Return what `start`, `stop`, `restart` or `scale` means.

    Raises:
        UsageError: arguments of the wrong kind.
        NoSuchService: it names nothing that exists.
    """
    wait, timeout = args.get("wait", True), args.get("timeout")
    if not isinstance(wait, bool):
        raise UsageError("wait must be true or false")
    if timeout is not None and (not isinstance(timeout, (int, float)) or timeout < 0):
        raise UsageError("timeout must be a number of seconds")
    if op == "scale":
        return _scale(args, roster, wait, timeout)
    patterns = targets.strings(args, "targets")
    if not patterns:
        raise UsageError(f"say which services to {op}; 'all' means every one")
    found = targets.find(roster, patterns)
    change = {"start": roster.up, "stop": roster.down, "restart": roster.renew}[op]
    return Plan(lambda now: change(found, now), lambda: found, op != "stop", wait, timeout)


def _scale(args: dict[str, Any], roster: Roster, wait: bool, timeout: float | None) -> Plan:
    sizes = args.get("sizes")
    if not isinstance(sizes, dict) or not sizes:
        raise UsageError("say how many: scale SERVICE=N")
    wanted: dict[str, int] = {}
    for pattern, count in sizes.items():
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_INSTANCES:
            raise UsageError(f"{pattern}={count}: the number of instances goes from 0 to {MAX_INSTANCES}")
        if pattern.count("/"):
            raise NoSuchService(f"{pattern} is an instance; only a service can be scaled")
        wanted.update(dict.fromkeys(targets.find_services(roster, [pattern]), count))
    grown = [name for name, count in wanted.items() if count >= len(roster.services[name].slots)]
    before = {slot.id for name in wanted for slot in roster.services[name].slots.values()}

    def change(now: float) -> list[Action]:
        return [action for name, count in wanted.items() for action in roster.scale(name, count, now)]

    def instances() -> list[str]:
        after = {
            f"{name}/{number}" for name in wanted if name in roster.services for number in range(wanted[name])
        }
        return sorted(after - before) if len(grown) == len(wanted) else sorted(before - after)

    return Plan(change, instances, len(grown) == len(wanted), wait, timeout)


def count_of(args: dict[str, Any], key: str, default: int, most: int) -> int:
    """Return a number from the arguments of a request.

    Raises:
        UsageError: it is no number from 0 to `most`.
    """
    value = args.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise UsageError(f"{key} must be a number from 0 to {most}")
    return value


def publication(kind: str, args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the relay's `publish` for `send` (queue) or `broadcast` (topic).

    Raises:
        UsageError: arguments that are missing or of the wrong kind.
    """
    destination, body = args.get(kind), args.get("body")
    headers, transport = args.get("headers") or {}, args.get("transport")
    if not isinstance(destination, str) or not destination:
        raise UsageError(f"say to which {kind}")
    if not isinstance(body, bytes):
        raise UsageError("body must be bytes")
    if not isinstance(headers, dict) or not all(isinstance(name, str) for name in headers):
        raise UsageError("headers must be a map with names as keys")
    if transport is not None and not isinstance(transport, str):
        raise UsageError("transport must be a name")
    result: dict[str, Any] = {
        "kind": kind,
        "destination": destination,
        "headers": headers,
        "body": body,
        "transport": transport,
    }
    for key in ("delay", "expiration"):
        seconds = args.get(key)
        if seconds is not None and (not isinstance(seconds, (int, float)) or seconds < 0):
            raise UsageError(f"{key} must be a number of seconds")
        result[key] = seconds
    return result
