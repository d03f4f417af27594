"""Fits a list of dead letters into one frame (pure)."""

from __future__ import annotations

from typing import Any

from zocalo_daemon.protocol.framing import MAX_FRAME

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
            "size": len(letter["body"]),
            "cut": max(0, len(letter["body"]) - share),
        }
        for letter in letters
    ]


def _share(sizes: list[int], room: int) -> int:
    """Return the greatest size to which all can be cut so that their sum is within the room."""
    left = len(sizes)
    for size in sorted(sizes):
        if size * left > room:
            return room // left
        room -= size
        left -= 1
    return max(sizes, default=0)
