"""What a command means for the roster: arguments in, a plan out (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from zocalo_daemon.control import targets
from zocalo_daemon.errors import NoSuchService, UsageError
from zocalo_daemon.supervision.actions import Action
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Slot
from zocalo_daemon.values import Value

MAX_INSTANCES = 2000  # of one service
# epoll_wait(2) takes milliseconds as an int, so that no deadline may be more than 24 days away.
MAX_TIMEOUT = 7 * 86_400.0
MAX_DELAY = 366 * 86_400.0


class Plan(Value):
    """A change of the roster, and what the one who asked waits for.

    Args:
        services: those that it changes.
        change: applies it at a given time and returns the actions.
        instances: returns those that it concerns, once it was applied.
        up: they are waited for until they are ready; False: until they have stopped; None: until each is
            what is wanted of it.
        wait, timeout: whether to wait at all, and for how many seconds.
    """

    services: tuple[str, ...]
    change: Callable[[float], list[Action]]
    instances: Callable[[], list[str]]
    up: bool | None
    wait: bool
    timeout: float | None


def plan(op: str, args: dict[str, Any], roster: Roster, who: str | None = None) -> Plan:
    """Return what `start`, `stop`, `restart` or `scale` means.

    Args:
        who: asks for it and when, for people to read of what was stopped.

    Raises:
        UsageError: arguments of the wrong kind.
        NoSuchService: it names nothing that exists.
    """
    wait, timeout = args.get("wait", True), seconds_of(args, "timeout", MAX_TIMEOUT)
    if not isinstance(wait, bool):
        raise UsageError("wait must be true or false")
    if op == "scale":
        return _scale(args, roster, wait, timeout)
    patterns = targets.strings(args, "targets")
    if not patterns:
        raise UsageError(f"say which services to {op}; 'all' means every one")
    found = targets.find(roster, patterns)
    if op != "stop":
        found = _staying(roster, found)
    services = tuple(dict.fromkeys(instance.rpartition("/")[0] for instance in found))
    if op == "stop":
        return Plan(services, lambda now: roster.down(found, now, who), lambda: found, False, wait, timeout)
    change = {"start": roster.up, "restart": roster.renew}[op]
    return Plan(services, lambda now: change(found, now), lambda: found, True, wait, timeout)


def _staying(roster: Roster, found: list[str]) -> list[str]:
    """Leave out instances that are on their way out: `all` and patterns do not mean them."""
    slots = [slot for slot in map(roster.slot, found) if slot]
    staying = [slot.id for slot in slots if not slot.leaving]
    if not staying:
        service = slots[0].service
        if service.removed:
            raise NoSuchService(f"service {service.config.name} was removed from the configuration")
        more = f"zocaloctl scale {service.config.name}={slots[0].number + 1}"
        raise NoSuchService(f"{slots[0].id} is being removed since the service was scaled down; {more}")
    return staying


def _scale(args: dict[str, Any], roster: Roster, wait: bool, timeout: float | None) -> Plan:
    counts = _counts(args, roster)
    before = {slot.id: slot.wanted for name in counts for slot in roster.services[name].slots.values()}

    def change(now: float) -> list[Action]:
        return [action for name, count in counts.items() for action in roster.scale(name, count, now)]

    def instances() -> list[str]:
        slots = (slot for name in counts if name in roster.services for slot in _slots(roster, name))
        after = {slot.id: slot for slot in slots}
        started = [slot.id for slot in after.values() if slot.wanted and not before.get(slot.id)]
        return started + [id_ for id_ in before if id_ not in after or after[id_].leaving]

    return Plan(tuple(counts), change, instances, None, wait, timeout)


def _slots(roster: Roster, name: str) -> Iterable[Slot]:
    return roster.services[name].slots.values()


def _counts(args: dict[str, Any], roster: Roster) -> dict[str, int]:
    sizes = args.get("sizes")
    if not isinstance(sizes, dict) or not sizes:
        raise UsageError("say how many: scale SERVICE=N")
    counts: dict[str, int] = {}
    for pattern, count in sizes.items():
        if not isinstance(pattern, str):
            raise UsageError("sizes must be a map with names as keys")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_INSTANCES:
            raise UsageError(f"{pattern}={count}: the number of instances goes from 0 to {MAX_INSTANCES}")
        if "/" in pattern:
            raise NoSuchService(f"{pattern} is an instance; only a service can be scaled")
        names = targets.find_services(roster, [pattern])
        staying = [name for name in names if not roster.services[name].removed]
        if not staying:
            raise NoSuchService(f"service {names[0]} was removed from the configuration")
        counts.update(dict.fromkeys(staying, count))
    return counts


def seconds_of(args: dict[str, Any], key: str, most: float) -> float | None:
    """Return a time in seconds from the arguments of a request, None if it is not there.

    Raises:
        UsageError: it is no number from 0 to `most`.
    """
    value = args.get(key)
    if value is None:
        return None
    # The comparison is false for NaN, too.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
        raise UsageError(f"{key} must be a number of seconds from 0 to {most:.0f}")
    return value


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
    if args.get("properties"):
        result["properties"] = args["properties"]  # the relay knows which there are
    if args.get("ignore_namespace") is True:
        result["ignore_namespace"] = True
    for key in ("delay", "expiration"):
        result[key] = seconds_of(args, key, MAX_DELAY)
    return result
