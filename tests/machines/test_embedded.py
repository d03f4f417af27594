"""The embedded broker against a model: a list of messages for each queue, in plain Python."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.brokers.driving import START, Driver
from zocalo_daemon.brokers import waiting
from zocalo_daemon.brokers.base import (
    Confirmed,
    Delivered,
    Kind,
    Outcome,
    Publication,
    Refused,
    Settlement,
    SettlementFailed,
)
from zocalo_daemon.brokers.planning import retry_delay

QUEUES = ("a", "b")


@dataclass(eq=False)
class Expected:
    """A message as the model sees it; `place` gives its order within its priority."""

    body: bytes
    queue: str
    priority: int
    place: int
    due: float | None = None
    expires: float | None = None
    low: int = 0  # bounds of the number of deliveries that the broker knows of
    high: int = 0
    requeues: int = 0
    tag: int | None = None

    @property
    def order(self) -> tuple[int, int]:
        return -self.priority, self.place


class BrokerMachine(RuleBasedStateMachine):
    """Calls are collected in `pending` and take effect in the model at the poll that carries them out."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        logging.getLogger("zocalo_daemon.brokers").setLevel(logging.CRITICAL)
        self.d = Driver(self.directory / "q")
        self.messages: list[Expected] = []
        self.places = itertools.count(1)
        self.bodies = itertools.count(1)
        self.numbers = itertools.count(1)
        self.credit: dict[int, list] = {}  # consumer: [queue, credit]
        self.pending: list = []
        self.window = (waiting.WINDOW_MESSAGES, waiting.WINDOW_BYTES)
        waiting.WINDOW_MESSAGES, waiting.WINDOW_BYTES = 3, 60  # so that few messages fill it

    def teardown(self) -> None:
        logging.getLogger("zocalo_daemon.brokers").setLevel(logging.NOTSET)
        waiting.WINDOW_MESSAGES, waiting.WINDOW_BYTES = self.window
        self.d.broker.close()
        shutil.rmtree(self.directory)

    # -- Calls

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.sampled_from([4, 4, 4, 9]),
        delay=st.sampled_from([0.0, 0.0, 0.0, 0.31, 1.37]),
        expiration=st.sampled_from([None, None, None, 0.53, 2.91]),
        count=st.integers(1, 5),
    )
    def publish(self, queue, priority, delay, expiration, count):
        for _ in range(count):
            body = b"%d" % next(self.bodies)
            token = self.d.send(queue, body, priority=priority, delay=delay, expiration=expiration)
            due = self.d.now + delay if delay else None
            expires = None if expiration is None else self.d.now + expiration
            self.pending.append((token, Expected(body, queue, priority, 0, due, expires)))

    @rule(data=st.data(), outcome=st.sampled_from([*Outcome, Outcome.ACCEPT]), all_of_it=st.booleans())
    @precondition(lambda self: self.out())
    def settle(self, data, outcome, all_of_it):
        out = self.out()
        for message in out if all_of_it else [data.draw(st.sampled_from(out))]:
            self.d.broker.settle(self._settlement(message, outcome))
            self.pending.append((outcome, message))

    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)), queue=st.sampled_from(QUEUES))
    @precondition(lambda self: self.out())
    def commit(self, data, outcome, queue):
        message = data.draw(st.sampled_from(self.out()))
        new = Expected(b"%d" % next(self.bodies), queue, 4, 0)
        self.d.token += 1
        publication = self._publication(new)
        self.d.broker.commit(self.d.token, [publication], [self._settlement(message, outcome)])
        self.pending += [(self.d.token, new), (outcome, message)]

    @rule(queue=st.sampled_from((*QUEUES, "dlq.a")), credit=st.integers(0, 4))
    def subscribe(self, queue, credit):
        self.poll()
        number = next(self.numbers)
        before = len(self.d.events)
        self.d.subscribe(number, queue, credit)
        self.check([e for e in self.d.events[before:] if isinstance(e, Delivered)])
        self.credit[number] = [queue, credit]

    @rule(data=st.data(), count=st.integers(-2, 6))
    @precondition(lambda self: self.credit)
    def give_credit(self, data, count):
        number = data.draw(st.sampled_from(sorted(self.credit)))
        self.d.broker.credit(number, count)
        self.credit[number][1] = max(0, self.credit[number][1] + count)

    @rule(data=st.data())
    @precondition(lambda self: self.credit)
    def cancel(self, data):
        number = data.draw(st.sampled_from(sorted(self.credit)))
        self.d.broker.cancel(number)
        del self.credit[number]

    # -- What happens

    @rule(seconds=st.sampled_from([0.0, 0.013, 0.21, 1.17]))
    def poll(self, seconds=0.0):
        if seconds:
            self.poll()  # times count from the poll that carries a call out
            self.d.now += seconds
        self.apply()
        events = self.d.poll()
        assert not [e for e in events if isinstance(e, Refused | SettlementFailed)]
        self.check([e for e in events if isinstance(e, Delivered)])

    @rule()
    def fail(self):
        """The disk fails: nothing of the batch happens, and everybody is told."""
        self.poll()
        self.publish_one()
        for message in self.out()[:2]:
            self.d.broker.settle(self._settlement(message, Outcome.ACCEPT))
        settled = [m.tag for m in self.out()[:2]]
        store = self.d.broker._store
        store.transaction = _broken
        events = self.d.poll()
        del store.transaction
        assert [e.tag for e in events if isinstance(e, SettlementFailed)] == settled
        assert len([e for e in events if isinstance(e, Refused)]) == 1
        assert not [e for e in events if isinstance(e, Confirmed)]
        self.check([e for e in events if isinstance(e, Delivered)])
        self.pending.clear()
        self.poll(1.17)

    def publish_one(self):
        self.d.send("a", b"lost")

    @rule(clean=st.booleans())
    def restart(self, clean):
        self.poll()
        if clean:
            self.d.broker.close()
        else:
            self.d.broker._store.close()
        for message in self.out():
            message.tag = None
            if not clean:
                message.high += 1
        self.credit.clear()
        self.d = Driver(self.directory / "q", now=self.d.now, wall=START + self.d.now - 1000.0)
        self.poll()

    @rule(data=st.data())
    def reinject(self, data):
        self.poll()
        dead = [m for m in self.messages if m.queue == "dlq.a" and m.tag is None and m.due is None]
        chosen = data.draw(st.none() | st.sets(st.sampled_from(dead))) if dead else None
        ids = None
        if chosen is not None:
            by_body = {x.body: x.id for x in self.d.broker.dead_letters("dlq.a", 1000)}
            ids = [by_body[m.body] for m in chosen]
        moved = sorted(dead if chosen is None else chosen, key=lambda m: m.place)
        assert self.d.broker.reinject("dlq.a", ids, "b") == len(moved)
        moved.sort(key=lambda m: -m.priority if chosen is None else 0)
        for message in moved:
            self.move(message, "b")

    # -- The model

    def out(self) -> list[Expected]:
        settling = {m.body for _, m in self.pending}
        return [m for m in self.messages if m.tag is not None and m.body not in settling]

    def apply(self) -> None:
        """Carry out what was called, then what time has brought."""
        for what, message in self.pending:
            if isinstance(what, int):
                message.place = next(self.places)
                self.messages.append(message)
            else:
                self.apply_outcome(message, what)
        self.pending.clear()
        now = self.d.now
        self.messages = [m for m in self.messages if m.tag or m.expires is None or m.expires >= now]
        ripe = [m for m in self.messages if m.due is not None and m.due <= now]
        for message in sorted(ripe, key=lambda m: (m.due, m.place)):
            message.due = None
            if not message.requeues:
                message.place = next(self.places)

    def apply_outcome(self, message: Expected, outcome: Outcome) -> None:
        message.tag = None
        if outcome is Outcome.ACCEPT:
            self.messages.remove(message)
        elif outcome is Outcome.REJECT and message.queue != "dlq.a":
            self.move(message, "dlq." + message.queue)
        elif outcome is not Outcome.RELEASE:
            message.low += 1
            message.high += 1
        if outcome is Outcome.REQUEUE or (outcome is Outcome.REJECT and message.low):
            delay = retry_delay(message.requeues)
            message.due = self.d.now + delay if delay else None
            message.requeues += 1

    def move(self, message: Expected, queue: str) -> None:
        message.queue, message.place, message.expires = queue, next(self.places), None
        message.low = message.high = message.requeues = 0

    def check(self, deliveries: list[Delivered]) -> None:
        """Compare what came with what should have come, queue by queue."""
        for queue in {q for q, _ in self.credit.values()}:
            ready = sorted(
                (m for m in self.messages if m.queue == queue and m.tag is None and m.due is None),
                key=lambda m: m.order,
            )
            credit = sum(c for q, c in self.credit.values() if q == queue)
            got = [x for x in deliveries if x.routing_key == queue]
            assert [x.body for x in got] == [m.body for m in ready[:credit]], queue
            for delivery, message in zip(got, ready, strict=False):
                count = delivery.headers.get("x-delivery-count", 0)
                assert message.low <= count <= message.high
                assert delivery.redelivered == (count > 0)
                message.low = message.high = count
                message.tag = delivery.tag
                self.credit[delivery.consumer][1] -= 1
                assert self.credit[delivery.consumer][1] >= 0

    @invariant()
    def counts_agree(self):
        if self.pending:
            return
        for info in self.d.broker.queues():
            mine = [m for m in self.messages if m.queue == info.name]
            out = [m for m in mine if m.tag is not None]
            delayed = [m for m in mine if m.due is not None]
            assert info.unsettled == len(out)
            assert info.delayed == len(delayed)
            assert info.ready == len(mine) - len(out) - len(delayed)

    def _settlement(self, message, outcome):
        return Settlement(message.tag, outcome, "because")

    def _publication(self, message):
        return Publication(Kind.QUEUE, message.queue, {}, message.body, priority=message.priority)


@contextlib.contextmanager
def _broken():
    raise sqlite3.OperationalError("the test broke the disk")
    yield


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
