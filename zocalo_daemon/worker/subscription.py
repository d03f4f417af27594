"""One subscription and one transaction of a transport (no I/O; the caller holds the lock)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import workflows

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.worker import Frame

MAX_TRANSACTION = protocol.MAX_FRAME - 1024 * 1024  # bytes; leaves room for settlements


class Subscription:
    """Deliveries that wait in `buffer`, and those in the service's hands in `out`.

    Args:
        number: the service's subscription ID.
        kind: QUEUE, TOPIC or TEMPORARY.
        options: of the SUBSCRIBE frame.
        gate: how many unsettled deliveries the service may have.
    """

    __slots__ = ("buffer", "gate", "handing", "kind", "live", "name", "number", "options", "out", "seen")

    def __init__(self, number: int, kind: int, name: str, options: dict[str, Any], gate: int) -> None:
        self.number = number
        self.kind = kind
        self.name = name
        self.options = options
        self.gate = gate
        self.buffer: deque[Frame] = deque()
        self.out: dict[int, Transaction | None] = {}  # with the one that will settle it; oldest first
        self.seen: set[int] = set()  # those of `out` whose callback has begun
        self.handing = False  # a thread is in its callback: only that one hands out, so order is kept
        self.live = True  # the relay may still send deliveries

    @property
    def settles_itself(self) -> bool:
        """Whether a delivery is settled because its callback has returned."""
        return not self.options["ack"] and self.kind != protocol.TOPIC

    @property
    def has_next(self) -> bool:
        """Whether something may be handed out now."""
        return bool(self.buffer) and (self.kind == protocol.TOPIC or len(self.out) < self.gate)

    @property
    def is_ready(self) -> bool:
        """Whether a callback may be given something now, which no thread is doing already."""
        return self.has_next and not self.handing

    def next(self) -> Frame | None:
        """Take what may be handed out now, or None."""
        if not self.has_next:
            return None
        frame = self.buffer.popleft()
        if self.kind != protocol.TOPIC:  # nobody settles a topic's messages
            self.out[frame[2]] = None
        return frame

    def give_back(self) -> list[int]:
        """Take everything out of the buffer and return the deliveries that the relay wants back."""
        deliveries = [frame[2] for frame in self.buffer]
        self.buffer.clear()
        return deliveries if self.kind != protocol.TOPIC else []

    def is_free(self, delivery: int) -> bool:
        """Say whether a delivery is in hand and no transaction will settle it."""
        return self.out.get(delivery, self) is None

    def find(self, delivery: int, multiple: bool) -> list[int]:
        """Return the free deliveries in hand that a settlement of `delivery` covers.

        `multiple` covers all that were handed out before it too (AMQP 0-9-1, basic.ack).
        """
        if not self.is_free(delivery):
            return []
        if not multiple:
            return [delivery]
        covered = []
        for other, transaction in self.out.items():
            if transaction is None:
                covered.append(other)
            if other == delivery:
                break
        return covered

    def forget(self, deliveries: Iterable[int]) -> None:
        """Deliveries are settled."""
        for delivery in deliveries:
            del self.out[delivery]
            self.seen.discard(delivery)

    def unseen(self) -> list[int]:
        """Return what was handed out and has not begun: it waits in the service's own queue."""
        return [delivery for delivery in self.out if delivery not in self.seen]

    def lose(self) -> list[int]:
        """The relay is gone: forget everything, return what the service has in hand."""
        lost = list(self.out)
        for transaction in self.out.values():
            if transaction is not None:
                transaction.spoilt = True
        self.buffer.clear()
        self.out.clear()
        self.seen.clear()
        return lost


class Transaction:
    """What a transaction has collected: it travels as one COMMIT frame, or not at all."""

    __slots__ = ("publications", "settled", "settlements", "size", "spoilt")

    def __init__(self) -> None:
        self.publications: list[Any] = []
        self.settlements: list[Any] = []
        self.settled: list[tuple[Subscription, list[int]]] = []
        self.size = 0  # bytes
        self.spoilt = False  # a delivery in it comes again: nothing of it may happen

    def publish(self, publication: list[Any], size: int) -> None:
        """Add a message of `size` bytes.

        Raises:
            workflows.Error: the transaction would be more than one frame can carry.
        """
        if self.size + size > MAX_TRANSACTION:
            raise workflows.Error(
                f"a transaction of {self.size + size} bytes is over the limit of {MAX_TRANSACTION}"
            )
        self.size += size
        self.publications.append(publication)

    def settle(self, kind: int, subscription: Subscription, deliveries: list[int], requeue: Any) -> None:
        """Add settlements of deliveries that are in hand."""
        for delivery in deliveries:
            subscription.out[delivery] = self
            self.settlements.append([kind, subscription.number, delivery, False, requeue])
        self.settled.append((subscription, deliveries))

    def release(self) -> None:
        """Let its deliveries be settled by others."""
        for subscription, deliveries in self.settled:
            for delivery in deliveries:
                if subscription.out.get(delivery) is self:
                    subscription.out[delivery] = None

    def frame(self, number: int, *, wait: bool) -> Frame:
        """Return the COMMIT frame."""
        return [protocol.COMMIT, number, wait, self.publications, self.settlements]
