"""How long a message waits that was put back, longer each time (pure).

RabbitMQ delivers again at once, and says only that it is not the first time. So the driver remembers what it
put back lately; a quorum queue counts by itself (x-delivery-count).
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
        own = {key: value for key, value in headers.items() if key != _COUNT}
        key = hashlib.blake2b(
            repr((queue, sorted(own.items(), key=lambda item: item[0]))).encode() + body
        ).digest()
        known = self._counts.pop(key, 0) if redelivered else 0
        counted = headers.get(_COUNT)
        count = max(known, counted if isinstance(counted, int) else 0)
        self._counts[key] = known + 1
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        return float(min(LAST_DELAY, FIRST_DELAY * 2 ** min(count, 30)))
