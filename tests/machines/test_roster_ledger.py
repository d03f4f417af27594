"""Roster and ledger together: workers take deliveries, die, hang, are replaced, recycled and stopped, and the
relay dies as well.

Every delivery is settled or forfeited exactly once, none is held by a worker that has ended, none is accepted
before what was sent for it is safe, and in the end every message is done, or waits in its queue for a worker.
"""

from __future__ import annotations

import itertools
from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.machines.test_roster import Process, World
from tests.rosterkit import OK
from zocalo_daemon.brokers.base import Outcome, Settlement
from zocalo_daemon.relay.ledger import Action, Ledger
from zocalo_daemon.supervision.events import Event, Exit, Ready

CONSUMER = 1  # each worker has one
IN_HAND = 1  # deliveries that a service may have; the others wait in the buffer of its worker
DONE = (Outcome.ACCEPT, Outcome.REJECT)
outcomes = st.sampled_from((Outcome.ACCEPT, Outcome.ACCEPT, Outcome.REJECT, Outcome.REQUEUE))


class Messages(World):
    """The world of the roster, whose workers hold deliveries of a broker that is a few dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.queue: deque[int] = deque()
        self.out: dict[int, int] = {}  # tag: message, until the broker hears what becomes of it
        self.done: set[int] = set()
        self.start_relay()

    def start_relay(self) -> None:
        self.ledger = Ledger(itertools.count(self.number()), ordered=False)
        self.connections: dict[int, int] = {}  # serial: connection
        self.held: dict[int, dict[int, int]] = {}  # connection: {delivery: tag}
        self.tokens: dict[int, int] = {}  # publications that are not safe yet: connection
        self.barrier: dict[int, set[int]] = {}  # tag: those that must be, before it is accepted

    def number(self) -> int:
        self.count += 1
        return self.count

    # -- The daemon tells the relay who has ended, and the relay its broker what becomes of deliveries

    def report(self, event: Event) -> None:
        if isinstance(event, Ready):
            self.connect(event.serial)
        super().report(event)

    def exit(self, process: Process, exit_: Exit, error: str = "") -> None:
        if exit_ is OK and process.drained:
            self.finish(process)
        self.forfeit(process.serial)
        super().exit(process, exit_, error)

    def connect(self, serial: int) -> None:
        connection = self.connections[serial] = self.number()
        self.ledger.open(connection)
        self.held[connection] = {}

    def forfeit(self, serial: int) -> None:
        connection = self.connections.pop(serial, None)
        if connection is None:
            return  # it never got as far, or the relay has noticed before
        tags = list(self.held.pop(connection).values())
        actions = self.ledger.drop(connection, {CONSUMER: IN_HAND})
        expected = [Outcome.FORFEIT] * IN_HAND + [Outcome.RELEASE] * len(tags)
        assert actions == [Settlement(tag, how) for tag, how in zip(tags, expected, strict=False)]
        self.settled(actions)

    def settled(self, actions: list[Action]) -> None:
        for action in actions:
            assert isinstance(action, Settlement)
            message = self.out.pop(action.tag)  # which fails if it was settled before
            if action.outcome is Outcome.ACCEPT:
                assert not self.barrier[action.tag] & self.tokens.keys()
            if action.outcome in DONE:
                self.done.add(message)
            else:
                self.queue.append(message)

    # -- What workers do with deliveries

    @rule(count=st.integers(1, 5))
    def send(self, count: int) -> None:
        self.queue.extend(self.number() for _ in range(count))

    def serving(self) -> list[Process]:
        return [p for p in self.processes.values() if p.serves and p.serial in self.connections]

    @rule(data=st.data(), count=st.integers(1, 3))
    @precondition(lambda self: self.queue and self.serving())
    def deliver(self, data: st.DataObject, count: int) -> None:
        process = data.draw(st.sampled_from(self.serving()))
        for _ in range(min(count, len(self.queue))):
            self.hand_out(process)

    def hand_out(self, process: Process) -> None:
        connection, tag = self.connections[process.serial], self.number()
        self.out[tag] = self.queue.popleft()
        self.held[connection][self.ledger.take(connection, CONSUMER, tag)] = tag

    def busy(self) -> list[Process]:
        """Workers with a delivery that still run; they may be draining."""
        alive = [p for p in self.processes.values() if not (p.killed or p.hung)]
        return [p for p in alive if self.held.get(self.connections.get(p.serial, 0))]

    @rule(data=st.data(), outcome=outcomes, sends=st.integers(0, 2))
    @precondition(lambda self: self.busy())
    def work(self, data: st.DataObject, outcome: Outcome, sends: int) -> None:
        """A service sends something and settles the delivery in hand."""
        self.handle_oldest(data.draw(st.sampled_from(self.busy())), outcome, sends)

    def handle_oldest(self, process: Process, outcome: Outcome, sends: int) -> None:
        connection = self.connections[process.serial]
        for _ in range(sends):
            token = self.number()
            self.tokens[token] = connection
            self.ledger.publish(connection, token)
        delivery = next(iter(self.held[connection]))
        assert self.ledger.find(connection, CONSUMER, delivery, False) == [delivery]
        tag = self.held[connection].pop(delivery)
        self.barrier[tag] = {token for token, owner in self.tokens.items() if owner == connection}
        self.settled(self.ledger.settle(connection, [delivery], outcome))
        assert self.ledger.find(connection, CONSUMER, delivery, False) == []

    def finish(self, process: Process) -> None:
        """A worker that was asked to end finishes what it has in hand, and gives back what it has not."""
        connection = self.connections.get(process.serial)
        if connection and self.held[connection]:
            self.handle_oldest(process, Outcome.ACCEPT, 0)

    @rule(data=st.data(), refused=st.booleans())
    @precondition(lambda self: self.tokens)
    def answer(self, data: st.DataObject, refused: bool) -> None:
        token = data.draw(st.sampled_from(list(self.tokens)))
        del self.tokens[token]
        if refused:
            self.settled(self.ledger.refuse(token, "unroutable", "no such queue"))
        else:
            self.settled(self.ledger.confirm(token))

    @rule(data=st.data(), again=st.booleans())
    @precondition(lambda self: self.connections)
    def lose_a_connection(self, data: st.DataObject, again: bool) -> None:
        """The relay may notice before the supervisor that a worker dies; or the worker connects anew."""
        serial = data.draw(st.sampled_from(list(self.connections)))
        late = list(self.held[self.connections[serial]])
        self.forfeit(serial)
        if again:
            self.connect(serial)
            connection = self.connections[serial]
            assert not any(self.ledger.find(connection, CONSUMER, one, True) for one in late)

    @rule()
    def kill_the_relay(self) -> None:
        """What the broker has not heard of it delivers again; workers connect to the next relay."""
        serials = list(self.connections)
        self.queue.extend(self.out.values())
        self.out.clear()
        self.start_relay()
        for serial in serials:
            self.connect(serial)

    # -- What always holds

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        places = [*self.queue, *self.out.values(), *self.done]
        assert len(places) == len(set(places))

    @invariant()
    def nothing_is_held_by_the_dead(self) -> None:
        assert self.connections.keys() <= self.processes.keys()
        held = {tag for one in self.connections.values() for tag in self.held[one].values()}
        assert self.ledger.unsettled == len(held)
        assert held <= self.out.keys()
        # The others are settled, and wait only until something that was sent before them is safe.
        for tag in self.out.keys() - held:
            assert self.barrier[tag] & self.tokens.keys()

    # -- How it ends

    def check_calm(self) -> None:
        """Every worker that serves works off what there is."""
        super().check_calm()
        self.confirm_all()
        for process in self.serving():
            while self.held[self.connections[process.serial]] or self.queue:
                if not self.held[self.connections[process.serial]]:
                    self.hand_out(process)
                self.handle_oldest(process, Outcome.ACCEPT, 1)
        self.confirm_all()
        assert not self.out
        assert not (self.queue and self.serving())

    def confirm_all(self) -> None:
        for token in list(self.tokens):
            del self.tokens[token]
            self.settled(self.ledger.confirm(token))


Messages.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestRosterAndLedger = Messages.TestCase
