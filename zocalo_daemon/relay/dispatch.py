"""How many deliveries a subscription may have, and when to take some back (pure).

A service that says nothing has an adaptive window: so many deliveries that about TARGET seconds of work wait
in its worker, which hides the way to the relay and back. It grows by doubling, and shrinks at once.

    delivered -> settled            the time between them, or between settlements, is the service time
    head out for PATIENCE seconds   the service is busy: recall what waits behind it, other consumers may be
                                    idle; nothing more until the head is settled
    more out than the window for    the service is slower than it was: recall what waits, too
    PATIENCE seconds
"""

from __future__ import annotations

import math

TARGET = 0.020  # seconds of work in a worker's buffer
LARGEST = 256
FIRST_AHEAD = 16  # credit that a broker may have at once, until a delivery has shown how large they are
AHEAD = 128  # the same from then on, and
AHEAD_BYTES = 1024 * 1024  # bytes of it, if messages are as large as the last one
PATIENCE = 0.050  # seconds
_WEIGHT = 0.2  # of the newest sample in the mean


class Window:
    """The window of one subscription.

    Args:
        prefetch: deliveries that it may have, kept as it is; 0 for an adaptive window.
        gate: how many of them the service may have in hand; the others are in the transport's buffer.
    """

    __slots__ = (
        "_adaptive",
        "_ahead",
        "_mean",
        "_over_since",
        "_since",
        "_size",
        "closed",
        "gate",
        "granted",
        "out",
        "recalled",
    )

    def __init__(self, prefetch: int, gate: int = 1) -> None:
        self._adaptive = prefetch == 0
        self._size = prefetch or gate
        self.gate = prefetch or gate
        self.granted = 0  # credit at the broker that is not used yet
        self.out = 0  # deliveries at the worker
        self.recalled = False
        self.closed = False  # nothing more: unsubscribed, or its worker does not read
        self._mean = 0.0  # seconds for one delivery
        self._since = 0.0  # when the delivery that is worked on came to the head
        self._over_since = math.inf  # since when more is out than the window allows
        self._ahead = FIRST_AHEAD

    @property
    def size(self) -> int:
        """Deliveries that it may have now."""
        return self._size

    def delivered(self, now: float, size: int = 0) -> None:
        """A delivery of `size` bytes goes to the worker."""
        self._ahead = AHEAD if size * AHEAD <= AHEAD_BYTES else max(1, AHEAD_BYTES // size)
        self.granted -= 1
        self.out += 1
        if self.out == 1:
            self._since = now

    def settled(self, now: float, count: int = 1) -> None:
        """Deliveries were settled, `count` of them since the last look at the connection."""
        self.out -= count
        if not self._adaptive:
            return
        sample = max(0.0, now - self._since) / count
        self._since = now
        self.recalled = False
        # Longer is believed at once, shorter only by and by.
        self._mean = sample if sample > self._mean else self._mean + (sample - self._mean) * _WEIGHT
        wanted = math.ceil(TARGET / self._mean) if self._mean > TARGET / LARGEST else LARGEST
        self._size = max(self.gate, min(wanted, 2 * self._size, LARGEST))
        self._over_since = min(self._over_since, now) if self.out > self._size else math.inf

    def released(self, count: int) -> None:
        """Deliveries came back untouched."""
        self.out -= count

    def change(self, *, paused: bool = False) -> int:
        """Return the change of credit that the broker should be told; it counts as told.

        Args:
            paused: the worker does not read; it gets nothing new, whatever its window.
        """
        target = 0 if paused or self.closed else max(0, min(self._size - self.out, self._ahead))
        change = target - self.granted
        self.granted = target
        return change

    def patience_ends(self) -> float | None:
        """Return when to call `recall`, or None while nothing waits behind the head."""
        if not self._adaptive or self.recalled or self.out <= self.gate:
            return None
        return min(self._since, self._over_since) + PATIENCE

    def recall(self, now: float) -> bool:
        """Say whether to take back what waits; the window is then as small as can be."""
        ends = self.patience_ends()
        if ends is None or now < ends:
            return False
        self.recalled = True
        self._over_since = math.inf
        self._mean = max(self._mean, PATIENCE)
        self._size = self.gate
        return True
