"""What publications and settlements mean for a batch of the embedded broker."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial

import msgpack

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.base import (
    Kind,
    Outcome,
    Publication,
    Refused,
    Settlement,
    SettlementFailed,
)
from zocalo_daemon.brokers.batch import Batch, State
from zocalo_daemon.brokers.consumers import notice_of
from zocalo_daemon.brokers.store import Store
from zocalo_daemon.brokers.waiting import Lease, Message, Queue

_FIRST_RETRY, _LAST_RETRY = 0.05, 30.0  # seconds before the second requeue takes effect, and at most
MAX_NAME = 255  # bytes

log = logging.getLogger(__name__)


class Refusal(Exception):
    """A publication or unit that cannot be; `code` as in Refused."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def is_name(name: str) -> bool:
    """Say whether a queue or topic may have this name (AMQP allows as many bytes)."""
    try:
        return 0 < len(name.encode()) <= MAX_NAME
    except UnicodeEncodeError:  # lone surrogates, which the database cannot store
        return False


def retry_delay(requeues: int) -> float:
    """Return the seconds that a message waits when it is requeued after `requeues` earlier times."""
    if requeues == 0:
        return 0.0
    return min(_LAST_RETRY, _FIRST_RETRY * 2.0 ** min(requeues - 1, 20))


class Planner:
    """Turns calls into parts of a batch."""

    def __init__(self, state: State, store: Store) -> None:
        self._state = state
        self._store = store

    # -- Publications

    def publish(self, batch: Batch, token: int, publication: Publication) -> None:
        """Plan a message."""
        try:
            if not self._is_repeated(batch, [publication]):
                self._add(batch, publication, self._check(batch, publication))
        except Refusal as e:
            self._refuse(batch, token, e)
        else:
            batch.tokens.append(token)

    def commit(
        self, batch: Batch, token: int, publications: Sequence[Publication], settlements: Sequence[Settlement]
    ) -> None:
        """Plan a unit: all of it or nothing."""
        try:
            if not self._is_repeated(batch, publications):
                if batch.refused and settlements:
                    raise Refusal("failed", "a message that was sent before it was refused")
                packed = [self._check(batch, publication) for publication in publications]
                if any(self._lease(batch, s.tag) is None for s in settlements):
                    raise Refusal("failed", "a delivery that it settles is no longer held")
                for publication, headers in zip(publications, packed, strict=True):
                    self._add(batch, publication, headers)
                for settlement in settlements:
                    self._settle(batch, settlement)
        except Refusal as e:
            self._refuse(batch, token, e)
        else:
            batch.tokens.append(token)

    def _refuse(self, batch: Batch, token: int, refusal: Refusal) -> None:
        batch.refused = True
        batch.events.append(Refused(token, refusal.code, refusal.reason))

    def _is_repeated(self, batch: Batch, publications: Sequence[Publication]) -> bool:
        """Say whether it is recorded already; otherwise have it recorded, if it is more than a topic's."""
        repeated = False
        for client, sequence in {p.origin for p in publications if p.origin is not None}:
            last = batch.senders.get(client)
            if last is None:
                last = self._state.last_sequence(client, self._store)
            repeated = repeated or (last is not None and sequence <= last)
        return repeated

    def _check(self, batch: Batch, publication: Publication) -> bytes:
        """Return the packed headers of a publication that can be carried out.

        Raises:
            Refusal: it cannot.
        """
        times = [publication.delay, publication.expiration or 0.0]
        if not is_name(publication.destination) or not all(math.isfinite(t) for t in times):
            reason = f"a message needs a destination of at most {MAX_NAME} bytes, and finite times"
            raise Refusal("invalid", reason)
        if publication.origin is not None and not 0 <= publication.origin[1] < 2**63:
            raise Refusal("invalid", "the number of a message is out of range")
        if publication.exchange:
            raise Refusal(
                "unroutable",
                f"the embedded broker has no exchange {publication.exchange!r}, only queues and topics",
            )
        if publication.kind is not Kind.TOPIC:
            if self._state.full:
                raise Refusal("full", self._state.full)
            if self._state.queue(publication.destination, batch) is None:
                raise Refusal("unroutable", f"the temporary queue {publication.destination} is gone")
        try:
            packed: bytes = msgpack.packb(publication.headers, use_bin_type=True)
        except (TypeError, ValueError, OverflowError) as e:
            raise Refusal("invalid", f"its headers cannot be stored: {e}") from None
        return packed

    def _add(self, batch: Batch, publication: Publication, packed: bytes) -> None:
        if publication.kind is Kind.TOPIC:
            self._add_notice(batch, publication)
            return
        queue = self._state.queues[publication.destination]
        number = self._state.new_id()
        rank = publication.rank
        expires = None if publication.expiration is None else batch.now + publication.expiration
        due = batch.now + publication.delay if publication.delay > 0 else None
        batch.rows.append((number, queue.number, rank, due, expires, packed, publication.body))
        if due is not None:
            batch.delayed.append((queue, 1, due))
        else:
            size = len(packed) + len(publication.body)
            message = Message(number, 0, 0, expires, publication.headers, publication.body, size)
            batch.ready.append((queue, rank, number, message))
        if expires is not None:
            earliest = self._state.next_expiry
            self._state.next_expiry = expires if earliest is None else min(earliest, expires)
        if publication.origin is not None:
            client, sequence = publication.origin
            batch.senders[client] = sequence

    def _add_notice(self, batch: Batch, publication: Publication) -> None:
        topics, name = self._state.topics, publication.destination
        notice = notice_of(publication, batch.now)
        if publication.delay > 0:
            publish = partial(topics.delay, name, notice, batch.now + publication.delay)
        else:
            publish = partial(topics.publish, name, notice)
        batch.follow.append((False, publish))

    # -- Settlements

    def settle(self, batch: Batch, settlement: Settlement) -> None:
        """Plan what becomes of a delivery."""
        if batch.refused:
            reason = "a message that was sent before it was refused"
            batch.events.append(SettlementFailed(settlement.tag, reason))
        elif self._lease(batch, settlement.tag) is None:
            log.debug("a settlement of the delivery %d, which is not out, was dropped", settlement.tag)
        else:
            self._settle(batch, settlement)

    def _lease(self, batch: Batch, tag: int) -> Lease | None:
        return None if tag in batch.settled else self._state.leases.get(tag)

    def _settle(self, batch: Batch, settlement: Settlement) -> None:
        lease = self._lease(batch, settlement.tag)
        if lease is None:  # twice in one unit
            return
        batch.settled[settlement.tag] = lease
        outcome = settlement.outcome
        expired = lease.expires is not None and lease.expires <= batch.now
        if outcome is Outcome.ACCEPT or lease.queue.gone:
            batch.deletes.append((lease.id,))
        elif outcome is Outcome.REJECT and not lease.queue.dead_letters:
            self._reject(batch, lease, settlement.reason)
        elif expired:
            batch.deletes.append((lease.id,))
        elif outcome is Outcome.RELEASE:
            if lease.marked:
                batch.marks.append((lease.deliveries - 1, lease.id))
            batch.back.append((lease.queue, lease.rank, lease.id))
        elif outcome is Outcome.FORFEIT:
            batch.marks.append((lease.deliveries, lease.id))
            batch.back.append((lease.queue, lease.rank, lease.id))
        else:  # a dead letter that is rejected stays one; like any failure it comes back later each time
            self._requeue(batch, lease)

    def _requeue(self, batch: Batch, lease: Lease) -> None:
        delay = retry_delay(lease.requeues)
        due = batch.now + delay if delay else None
        batch.requeues.append((lease.deliveries, lease.requeues + 1, due, lease.id))
        if due is None:
            batch.back.append((lease.queue, lease.rank, lease.id))
        else:
            batch.delayed.append((lease.queue, 1, due))

    def _reject(self, batch: Batch, lease: Lease, reason: str) -> None:
        rows = self._store.load([lease.id])
        if lease.queue.temporary or not rows:
            log.warning("a message of %s was rejected and dropped: %s", lease.queue.name, reason)
            batch.deletes.append((lease.id,))
            return
        headers = msgpack.unpackb(rows[0][4], raw=False, strict_map_key=False)
        headers = deadletters.headers_of(headers, lease.queue.name, reason, batch.now)
        self.move(batch, lease.id, lease.rank, deadletters.PREFIX + lease.queue.name, headers)

    def move(
        self, batch: Batch, number: int, rank: int, destination: str, headers: dict[str, object]
    ) -> None:
        """Plan to put a stored message at the end of another queue.

        Raises:
            Refusal: the destination is a temporary queue that is gone.
        """
        target: Queue | None = self._state.queue(destination, batch)
        if target is None:
            raise Refusal("unroutable", f"the temporary queue {destination} is gone")
        packed = msgpack.packb(headers, use_bin_type=True)
        new = self._state.new_id()
        batch.moves.append((new, target.number, packed, number))
        batch.ready.append((target, rank, new, None))
