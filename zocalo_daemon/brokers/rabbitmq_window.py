"""From credit to what AMQP knows: the prefetch of a consumer, and acknowledgements in one frame (pure).

The relay gives credit message by message; AMQP has a prefetch that is fixed when a consumer starts. So an
adaptive consumer is started anew with a larger one when the credit has outgrown it, in powers of two. What
comes beyond the credit waits in the driver. If one of these waits longer than PATIENCE, the service is slower
than it was: the consumer is cancelled and what waits goes back; with the next credit it starts again, small.
Then nothing waits behind a long callback while somebody else is idle, and short callbacks never wait for the
broker. An explicit prefetch is kept as it is.
"""

from __future__ import annotations

LARGEST = 512  # of an adaptive consumer
PATIENCE = 0.2  # seconds


class Prefetch:
    """The prefetch of one consumer.

    Args:
        fixed: explicit prefetch, or 0 for an adaptive one.
    """

    def __init__(self, fixed: int) -> None:
        self.fixed = fixed
        self.allowed = 0  # credit that no delivery has used
        self.out = 0  # deliveries from the broker that are not settled there
        self.size = 0  # prefetch of the consumer that stands; 0 for none

    def wanted(self) -> int:
        """Return the prefetch with which to start a consumer now, or 0 to leave things as they are."""
        if self.fixed:
            return 0 if self.size or self.allowed <= 0 else self.fixed
        if self.allowed <= 0 or self.size >= LARGEST:
            return 0
        # What a former consumer has out does not count against a new one.
        need = self.allowed + self.out if self.size else self.allowed
        return min(LARGEST, 1 << (need - 1).bit_length()) if need > self.size else 0

    @property
    def may_pause(self) -> bool:
        """Whether the consumer should be cancelled before anything goes back."""
        return not self.fixed and self.size > 0 and self.allowed <= 0


class Acks:
    """Deliveries of one channel: which are out, and which are done but not said yet."""

    def __init__(self) -> None:
        self._out: dict[int, None] = {}  # in the order of delivery
        self._done: set[int] = set()

    def add(self, tag: int) -> None:
        """A delivery came."""
        self._out[tag] = None

    def done(self, tag: int) -> None:
        """It is to be acknowledged."""
        self._done.add(tag)

    def drop(self, tag: int) -> None:
        """It was rejected."""
        self._out.pop(tag, None)

    def __len__(self) -> int:
        return len(self._out)

    def take(self) -> list[tuple[int, bool]]:
        """Return the acknowledgements to send: tag, and whether all before it are meant too."""
        if not self._done:
            return []
        last, count = 0, 0
        for tag in self._out:
            if tag not in self._done:
                break
            last, count = tag, count + 1
        frames = [(last, count > 1)] if count else []
        for tag in list(self._out)[:count] if count else ():
            del self._out[tag]
            self._done.discard(tag)
        for tag in sorted(self._done):
            frames.append((tag, False))
            self._out.pop(tag, None)
        self._done.clear()
        return frames
