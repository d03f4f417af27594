"""What is remembered of messages that went back to the broker (pure).

RabbitMQ delivers again at once, and says only that it is not the first time. So the driver remembers what it
put back lately: how often, because it waits longer each time; and whether anybody had seen it. Messages have
no number, what tells them apart is what they are. A quorum queue counts by itself (x-delivery-count).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

FIRST_DELAY = 0.1  # seconds; doubles with every requeue
LAST_DELAY = 60.0  # seconds
REMEMBERED = 10_000  # messages
_COUNT = "x-delivery-count"


class Requeues:
    """Counts how often each message was put back."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def delay(self, queue: str, headers: dict[str, Any], body: bytes, redelivered: bool) -> float:
        """Count one more and return the seconds to wait."""
        key = _identity(queue, headers, body)
        known = self._counts.pop(key, 0) if redelivered else 0
        count = max(known, _delivered(headers))
        self._counts[key] = known + 1
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        return float(min(LAST_DELAY, FIRST_DELAY * 2 ** min(count, 30)))


class Unseen:
    """Messages that went back before any callback had begun with them.

    They come again marked as redelivered, and are not. Where others take from the queue, one of them could
    have begun with it meanwhile: a quorum queue shows that by its count, and no other queue does.
    """

    def __init__(self) -> None:
        # One for each such message: the broker's count, and whether others take from the queue.
        self._counts: OrderedDict[tuple[str, bytes], list[tuple[int, bool]]] = OrderedDict()

    def add(self, queue: str, headers: dict[str, Any], body: bytes) -> None:
        """A message goes back."""
        key = (queue, _identity(queue, headers, body))
        self._counts.setdefault(key, []).append((_delivered(headers), False))
        self._counts.move_to_end(key)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def take(self, queue: str, headers: dict[str, Any], body: bytes) -> bool:
        """Say whether a message that comes marked as redelivered was only here, and forget it."""
        if not self._counts:
            return False
        key = (queue, _identity(queue, headers, body))
        counts = self._counts.get(key)
        if counts is None:
            return False
        count, shared = counts.pop()
        if not counts:
            del self._counts[key]
        return _delivered(headers) <= count + 1 and (not shared or _COUNT in headers)

    def share(self, queue: str) -> None:
        """Somebody else takes from that queue, too, or has a moment ago."""
        for key, counts in self._counts.items():
            if key[0] == queue:
                counts[:] = [(count, True) for count, _ in counts]


def _delivered(headers: dict[str, Any]) -> int:
    count = headers.get(_COUNT)
    return count if isinstance(count, int) else 0


def _identity(queue: str, headers: dict[str, Any], body: bytes) -> bytes:
    own = {key: value for key, value in headers.items() if key != _COUNT}
    return hashlib.blake2b(
        repr((queue, sorted(own.items(), key=lambda item: item[0]))).encode() + body
    ).digest()
