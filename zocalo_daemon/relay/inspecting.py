"""What operators ask about queues and dead letters: a part from each transport, and the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import msgpack

from zocalo_daemon.brokers.inspector import DeadLetter, Inspector
from zocalo_daemon.errors import UsageError, ZocaloError
from zocalo_daemon.relay import draining

LIST_LIMIT = 1000  # dead letters in one answer
LIST_BYTES = 32 * 1024 * 1024
_TEXTS = {
    *("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "type", "app_id"),
    "cluster_id",
}
_NUMBERS = {"priority": 256, "delivery_mode": 256, "timestamp": 2**63}  # each is less than that
PIECE = 3 * 1024 * 1024  # bytes of a body that are told at once; a frame of the control socket has 4 MiB


def queues(transport: str, inspector: Inspector, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the queues of a transport."""
    wanted = patterns(args, "patterns")
    return [
        {"transport": transport, **asdict(queue)}
        for queue in inspector.queues()
        if any(fnmatchcase(queue.name, pattern) for pattern in wanted)
    ]


def ask_all(
    part: Callable[[str, Inspector, dict[str, Any]], list[Any]],
    inspectors: Sequence[tuple[str, Inspector]],
    args: dict[str, Any],
) -> list[Any]:
    """Return the parts of all transports.

    Raises:
        ZocaloError: one does not answer. If queues are asked for, the others are asked all the same, and
            what they say is the `queues` of its `data`.
    """
    found: list[Any] = []
    problems: list[ZocaloError] = []
    for name, inspector in inspectors:
        try:
            found += part(name, inspector, args)
        except ZocaloError as e:
            problems.append(e)
            if part is not queues:
                raise
    if problems:
        raise type(problems[0])("\n".join(one.message for one in problems), {"queues": found})
    return found


def dead_letters(transport: str, inspector: Inspector, args: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the dead letters of a transport, as many as fit."""
    after, wanted, start = int(args.get("after") or 0), ids(args), int(args.get("from") or 0)
    found: list[dict[str, Any]] = []
    size = 0
    for queue in _dead_letter_queues(inspector, patterns(args)):
        with closing(inspector.walk(queue, after)) as letters:
            for letter in letters:
                if wanted is not None and letter.id not in wanted:
                    continue
                one = {"transport": transport, **asdict(letter), "headers": plain(letter.headers)}
                found.append(_piece(one, start))
                size += len(letter.body)
                if len(found) >= _limit(args) or size > LIST_BYTES:
                    return fitted(found, args)
    return found


def _piece(letter: dict[str, Any], start: int) -> dict[str, Any]:
    """Return a letter with a part of its body; the rest of a large one is asked for piece by piece.

    Here and not where clients are answered: a whole one would hold up the supervisor.
    """
    body = letter["body"]
    return {**letter, "from": start, "size": len(body), "body": body[start : start + PIECE]}


def fitted(letters: Sequence[dict[str, Any]], args: dict[str, Any]) -> list[dict[str, Any]]:
    """Return as many letters as one answer has."""
    found: list[dict[str, Any]] = []
    size = 0
    for letter in letters[: _limit(args)]:
        size += letter["size"]
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


def properties(args: dict[str, Any]) -> dict[str, Any]:
    """Return what the properties of a message, by the names of AMQP, are for a Publication.

    Raises:
        UsageError: there is no such property, or it is of another kind.
    """
    given = args.get("properties") or {}
    if not isinstance(given, dict):
        raise UsageError("publish: properties must be a map")
    for name, value in given.items():
        if not _fits(name, value):
            raise UsageError(f"publish: a message cannot have the property {name!r}, or not with this value")
    if not given:
        return {}
    return {
        "priority": given.get("priority"),
        "persistent": given.get("delivery_mode", 2) != 1,
        "properties": {
            key: value for key, value in given.items() if key not in ("priority", "delivery_mode")
        },
    }


def _fits(name: Any, value: Any) -> bool:
    if name in _NUMBERS:
        return type(value) is int and 0 <= value < _NUMBERS[name]
    return name in _TEXTS and isinstance(value, str) and len(value.encode()) < 256


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
