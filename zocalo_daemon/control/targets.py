"""Which instances a person means: names, `service/N`, globs, `all` (pure)."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence

from zocalo_daemon.errors import NoSuchService, UsageError
from zocalo_daemon.supervision.roster import Roster


def find(roster: Roster, patterns: Sequence[str]) -> list[str]:
    """Return the instances that the patterns name, each once, in the order of the roster.

    Raises:
        NoSuchService: a pattern names nothing; it says what comes close.
    """
    wanted: set[str] = set()
    for pattern in patterns:
        found = _match(roster, pattern)
        if not found:
            raise NoSuchService(_nothing(roster, pattern), {"pattern": pattern})
        wanted.update(found)
    return [slot.id for slot in roster.slots() if slot.id in wanted]


def find_services(roster: Roster, patterns: Sequence[str]) -> list[str]:
    """Return the services that the patterns name; an instance names its service, no pattern names all.

    Raises:
        NoSuchService: a pattern names nothing.
    """
    if not patterns:
        return list(roster.services)
    wanted = set()
    for pattern in patterns:
        if pattern in roster.services:
            wanted.add(pattern)
            continue
        named = {instance.rpartition("/")[0] for instance in _match(roster, pattern)}
        named |= {name for name in roster.services if pattern == "all" or fnmatch.fnmatchcase(name, pattern)}
        if not named:
            raise NoSuchService(_nothing(roster, pattern), {"pattern": pattern})
        wanted |= named
    return [name for name in roster.services if name in wanted]


def strings(args: dict[str, object], key: str) -> list[str]:
    """Return a list of strings from the arguments of a request, empty if it is not there.

    Raises:
        UsageError: it is something else.
    """
    value = args.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{key} must be a list of names")
    return value


def _match(roster: Roster, pattern: str) -> list[str]:
    slots = list(roster.slots())
    if pattern == "all":
        return [slot.id for slot in slots]
    name, slash, _ = pattern.rpartition("/")
    if slash:
        return [slot.id for slot in slots if fnmatch.fnmatchcase(slot.id, pattern)] if name else []
    return [slot.id for slot in slots if fnmatch.fnmatchcase(slot.service.config.name, pattern)]


def _nothing(roster: Roster, pattern: str) -> str:
    names: Iterable[str] = roster.services
    service, slash, number = pattern.rpartition("/")
    if slash and service in roster.services:
        count = len(roster.services[service].slots)
        return f"service {service} has no instance {number}; it has {count}"
    if pattern in roster.services:
        return f"service {pattern} has no instances; give it some: zocaloctl scale {pattern}=1"
    close = difflib.get_close_matches(service or pattern, names, 1)
    hint = f"did you mean {close[0]}?" if close else "zocaloctl status lists the services"
    kind = "no service matches" if any(c in pattern for c in "*?[") else "no such service:"
    return f"{kind} {pattern}; {hint}"
