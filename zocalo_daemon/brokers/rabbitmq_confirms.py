"""Publications of one channel that the broker has not confirmed yet (pure).

https://www.rabbitmq.com/docs/confirms: publications of a channel are numbered from 1; a confirmation means
one number or all up to it. A publication that reached no queue is returned before it is confirmed; the
return bears no number, so it is matched with the oldest one that is equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Entry:
    """A message on its way.

    Args:
        properties: what the driver sends with it.
        returned: it reached no queue.
    """

    exchange: str
    key: str
    body: bytes
    properties: Any
    mandatory: bool = True
    returned: bool = field(default=False, init=False)


class Confirms:
    """The publications of a channel, by number."""

    def __init__(self) -> None:
        self._next = 1
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, entry: Any) -> None:
        """Note the next publication."""
        self._open[self._next] = entry
        self._next += 1

    def take(self, number: int, multiple: bool) -> Iterator[Any]:
        """Yield what a confirmation means."""
        if not multiple:
            entry = self._open.pop(number, None)
            if entry is not None:
                yield entry
            return
        while self._open:
            first = next(iter(self._open))
            if first > number:
                return
            yield self._open.pop(first)

    def mark_returned(self, exchange: str, key: str, body: bytes) -> None:
        """Mark the publication that came back."""
        for entry in self._open.values():
            if not entry.returned and (entry.exchange, entry.key) == (exchange, key) and entry.body == body:
                entry.returned = True
                return

    def reset(self) -> list[Any]:
        """Return what is open, in order, and begin again with a new channel."""
        left = list(self._open.values())
        self._open.clear()
        self._next = 1
        for entry in left:
            entry.returned = False
        return left
