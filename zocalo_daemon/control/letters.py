"""Dead letters: those that only some relays have, and how a list of them fits into one frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zocalo_daemon.control.request import Request
from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.protocol.framing import MAX_FRAME
from zocalo_daemon.supervision.relay import Relay

ROOM = MAX_FRAME - 512 * 1024  # bytes of bodies; the rest is for headers and reasons

Letter = dict[str, Any]


def fitted(letters: list[Letter], room: int = ROOM) -> list[Letter]:
    """Return the letters with their `size`, and with long bodies cut so that all of them fit.

    Each may use its equal share of the room, and what shorter ones leave of theirs. A letter says with `cut`
    how many bytes of its body are missing.
    """
    share = _share([len(letter["body"]) for letter in letters], room)
    return [
        {
            **letter,
            "body": letter["body"][:share],
            "size": (size := letter.get("size", len(letter["body"]))),
            "cut": size - letter.get("from", 0) - min(share, len(letter["body"])),
        }
        for letter in letters
    ]


def gather(relays: Sequence[Relay], request: Request, done: Callable[[list[Any]], None]) -> None:
    """Do what is requested with the dead letters of these relays' spools; `done` gets the answers.

    A relay that does not run has none: what it keeps is in its spool, and shows when it is back.

    Raises:
        ZocaloError: of `done`, if there is nobody to ask; otherwise the request is answered with it.
    """
    if not relays:
        done([])
        return
    answers: list[Any] = []

    def answer(value: Any, error: ZocaloError | None) -> None:
        answers.append(None if error else value)
        if len(answers) == len(relays):
            try:
                done([one for one in answers if one])
            except ZocaloError as e:
                request.error(e)

    for relay in relays:
        try:
            relay.request(request.op, {**request.args, "spools": True}, answer, again=False)
        except ZocaloError as e:
            answer(None, e)


def joined(value: Any, found: Sequence[Any]) -> Any:
    """Return the answer of the first relay with those of others: lists, or numbers of letters by name."""
    for one in found:
        value = value + one if isinstance(one, list) else {key: value[key] + one[key] for key in value}
    return value


def _share(sizes: list[int], room: int) -> int:
    """Return the greatest size to which all can be cut so that their sum is within the room."""
    left = len(sizes)
    for size in sorted(sizes):
        if size * left > room:
            return room // left
        room -= size
        left -= 1
    return max(sizes, default=0)
