"""Which instances a person means: names, `service/N`, globs, `all` (pure)."""

from __future__ import annotations

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
    wanted: set[str] = set()
    for pattern in patterns:
        named = _services(roster, pattern) or [id_.rpartition("/")[0] for id_ in _match(roster, pattern)]
        if not named and (pattern != "all" or roster.services):
            raise NoSuchService(_nothing(roster, pattern), {"pattern": pattern})
        wanted.update(named)
    return [name for name in roster.services if name in wanted]


def strings(args: dict[str, object], key: str) -> list[str]:
    """Return a list of strings from the arguments of a request, empty if it is not there.

    Raises:
        UsageError: it is something else.
    """
    value = args.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{key} must be a list of names")
    return value


def _match(roster: Roster, pattern: str) -> Iterable[str]:
    if roster.slot(pattern):
        return [pattern]  # the common case, and thousands of them must not be compared with thousands
    service, slash, number = pattern.rpartition("/")
    return [
        slot.id
        for name in _services(roster, service if slash else pattern)
        for slot in roster.services[name].slots.values()
        if not slash or fnmatch.fnmatchcase(str(slot.number), number)
    ]


def _services(roster: Roster, pattern: str) -> list[str]:
    if pattern in roster.services:
        return [pattern]
    return [name for name in roster.services if pattern == "all" or fnmatch.fnmatchcase(name, pattern)]


def _nothing(roster: Roster, pattern: str) -> str:
    service, slash, number = pattern.rpartition("/")
    if not roster.services:
        return "there are no services; the configuration names none"
    if slash and service in roster.services:
        count = len(roster.services[service].slots)
        return f"service {service} has no instance {number}; it has {count}"
    if pattern == "all":
        return "no service has an instance; give one some: zocaloctl scale SERVICE=1"
    if pattern in roster.services:
        return f"service {pattern} has no instances; give it some: zocaloctl scale {pattern}=1"
    import difflib  # noqa: PLC0415 - the new code of a reexec does without

    close = difflib.get_close_matches(service or pattern, roster.services, 1)
    hint = f"did you mean {close[0]}?" if close else "zocaloctl status lists the services"
    kind = "no service matches" if any(c in pattern for c in "*?[") else "no such service:"
    return f"{kind} {pattern}; {hint}"
