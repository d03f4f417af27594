"""What operators ask about queues and dead letters: a part from each transport, and the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import msgpack

from zocalo_daemon.brokers.inspector import DeadLetter, Inspector
from zocalo_daemon.errors import UsageError
from zocalo_daemon.relay import draining

LIST_LIMIT = 1000  # dead letters in one answer
LIST_BYTES = 32 * 1024 * 1024


def queues(transport: str, inspector: Inspector, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the queues of a transport."""
    wanted = patterns(args, "patterns")
    return [
        {"transport": transport, **asdict(queue)}
        for queue in inspector.queues()
        if any(fnmatchcase(queue.name, pattern) for pattern in wanted)
    ]


def dead_letters(transport: str, inspector: Inspector, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the dead letters of a transport, as many as fit."""
    limit, after, wanted = _limit(args), int(args.get("after") or 0), ids(args)
    found: list[dict[str, Any]] = []
    for queue in _dead_letter_queues(inspector, patterns(args)):
        count = limit - len(found) if wanted is None else LIST_LIMIT
        found += [
            {"transport": transport, **asdict(letter), "headers": plain(letter.headers)}
            for letter in inspector.dead_letters(queue, count, after)
            if wanted is None or letter.id in wanted
        ]
        fitting = fitted(found, args)
        if len(found) >= limit or len(fitting) < len(found):
            return fitting
    return found


def fitted(letters: Sequence[dict[str, Any]], args: dict[str, Any]) -> list[dict[str, Any]]:
    """Return as many letters as one answer has."""
    found: list[dict[str, Any]] = []
    size = 0
    for letter in letters[: _limit(args)]:
        size += len(letter["body"])
        if found and size > LIST_BYTES:
            break
        found.append(letter)
    return found


def purge(_transport: str, inspector: Inspector, args: dict[str, Any]) -> list[int]:
    """Delete dead letters; return how many of each queue."""
    wanted = ids(args)
    return [inspector.purge(queue, wanted) for queue in _dead_letter_queues(inspector, patterns(args))]


def reinject(_transport: str, inspector: Inspector, args: dict[str, Any]) -> list[int]:
    """Send dead letters back; return how many of each queue.

    Raises:
        UsageError: the destination is no name.
    """
    wanted, destination = ids(args), args.get("destination")
    if destination is not None and type(destination) is not str:
        raise UsageError("dlq.reinject: destination must be the name of a queue")
    return [
        inspector.reinject(queue, wanted, destination)
        for queue in _dead_letter_queues(inspector, patterns(args))
    ]


def drain(_transport: str, inspector: Inspector, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Move the oldest message of a queue; return where it went and its recipe ID, nothing without a message.

    Raises:
        UsageError: source or destination is no name.
        ZocaloError: it cannot be moved.
    """
    source, wanted = args.get("queue"), args.get("destination")
    if not isinstance(source, str) or not source or not isinstance(wanted, str | None):
        raise UsageError("drain: queue and destination must be names")
    went: list[str] = []

    def route(letter: DeadLetter) -> str:
        went.append(draining.target(letter.body, source, wanted))
        return went[0]

    letter = inspector.drain(source, route)
    return [{"destination": went[0], "recipe_id": draining.recipe_id(letter.body)}] if letter else []


def plain(value: Any) -> Any:
    """Return a header as the link can carry it: maps with string keys, no extension types."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, msgpack.ExtType):
        return [plain(one) for one in value]
    return value if isinstance(value, (str, bytes, int, float, bool, type(None))) else str(value)


def patterns(args: dict[str, Any], key: str = "queues") -> list[str]:
    """Return the patterns of a request.

    Raises:
        UsageError: they are none.
    """
    found = args.get(key) or ["*"]
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"{key} must be a list of names or patterns")
    return found


def ids(args: dict[str, Any]) -> list[int] | None:
    """Return the numbers of letters that a request names, None for all.

    Raises:
        UsageError: they are none.
    """
    found = args.get("ids")
    if found is not None and (not isinstance(found, list) or not all(type(one) is int for one in found)):
        raise UsageError("ids must be a list of numbers")
    return found


def _limit(args: dict[str, Any]) -> int:
    return min(LIST_LIMIT, int(args.get("limit") or LIST_LIMIT))


def _dead_letter_queues(inspector: Inspector, wanted: Sequence[str]) -> list[str]:
    """Return the dead-letter queues that match any pattern, with or without their "dlq."."""
    return [
        queue.name
        for queue in inspector.queues()
        if queue.dead_letters
        and any(fnmatchcase(queue.name, p) or fnmatchcase(queue.name, f"dlq.{p}") for p in wanted)
    ]
