"""The ledger as a state machine, against a broker that is a dictionary.

Every delivery is settled or forfeited exactly once, none is held by a dead connection, and no delivery is
accepted before everything that its connection had sent before is confirmed; one that a unit settles waits for
its own unit and for publications outside of units. Nothing waits longer than that, and settlements keep their
order.
"""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zocalo_daemon.brokers.base import Kind, Outcome, Publication, Refused, Settlement
from zocalo_daemon.relay.ledger import Ledger

MESSAGE = Publication(Kind.QUEUE, "out", {}, b"")
outcomes = st.sampled_from([Outcome.ACCEPT, Outcome.REQUEUE, Outcome.REJECT, Outcome.RELEASE])


class LedgerMachine(RuleBasedStateMachine):
    ordered = False

    @initialize()
    def begin(self) -> None:
        self.ledger = Ledger(itertools.count(1000), ordered=self.ordered)
        self.held: dict[int, dict[int, int]] = {}  # connection: {delivery: tag}
        self.settled: dict[int, Outcome] = {}  # tag: what became of it
        self.barrier: dict[int, set[int]] = {}  # tag: publications that must be confirmed before
        self.order: dict[int, list[int]] = {}  # connection: tags that it has settled, and that still wait
        self.plain: set[int] = set()  # publications outside of units
        self.open_tokens: dict[int, int] = {}  # token: connection
        self.refused: set[int] = set()
        self.sent: set[int] = set()  # units given to the broker, not answered
        self.next = 1

    def number(self) -> int:
        self.next += 1
        return self.next

    def perform(self, actions) -> None:
        for action in actions:
            if isinstance(action, Settlement):
                self.record(action)
            elif isinstance(action, Refused):
                assert action.token not in self.sent
                del self.open_tokens[action.token]
            else:
                assert action.token not in self.sent
                assert not self.plain_before(action.token), "a unit before what was sent earlier is safe"
                self.sent.add(action.token)
                self.units[action.token] = action

    def plain_before(self, token: int) -> set[int]:
        connection = self.open_tokens[token]
        return {t for t, c in self.open_tokens.items() if c == connection and t < token and t in self.plain}

    def record(self, settlement: Settlement) -> None:
        assert settlement.tag not in self.settled, "settled twice"
        self.settled[settlement.tag] = settlement.outcome
        for tags in self.order.values():
            assert settlement.tag not in tags[1:], "settled before what was settled earlier"
            if tags[:1] == [settlement.tag]:
                del tags[0]
        if settlement.outcome is Outcome.ACCEPT:
            before = self.barrier.get(settlement.tag, set())
            assert not before & set(self.open_tokens), "accepted before what was sent is confirmed"

    units: dict

    @initialize()
    def no_units(self) -> None:
        self.units = {}

    @rule()
    def connect(self) -> None:
        connection = self.number()
        self.ledger.open(connection)
        self.held[connection] = {}

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def deliver(self, data) -> None:
        connection = data.draw(st.sampled_from(sorted(self.held)))
        tag = self.number()
        delivery = self.ledger.take(connection, connection, tag)
        assert all(delivery not in one for one in self.held.values())
        self.held[connection][delivery] = tag

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def publish(self, data) -> None:
        connection = data.draw(st.sampled_from(sorted(self.held)))
        token = self.number()
        self.ledger.publish(connection, token)
        self.open_tokens[token] = connection
        self.plain.add(token)

    def pick(self, data) -> tuple[int, list[int]]:
        connection = data.draw(st.sampled_from(sorted(c for c, d in self.held.items() if d)))
        deliveries = data.draw(
            st.lists(st.sampled_from(sorted(self.held[connection])), min_size=1, unique=True)
        )
        return connection, deliveries

    def take_away(self, connection: int, deliveries: list[int], *, unit: bool = False) -> None:
        before = {t for t, c in self.open_tokens.items() if c == connection}
        if unit:
            before &= self.plain
        for delivery in deliveries:
            self.barrier[self.held[connection].pop(delivery)] = set(before)

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), outcome=outcomes)
    def settle(self, data, outcome) -> None:
        connection, deliveries = self.pick(data)
        if outcome is not Outcome.RELEASE:  # which waits for nothing
            self.order.setdefault(connection, []).extend(self.held[connection][d] for d in deliveries)
        self.take_away(connection, deliveries)
        self.perform(self.ledger.settle(connection, deliveries, outcome))

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def commit(self, data) -> None:
        connection, deliveries = self.pick(data)
        self.take_away(connection, deliveries, unit=True)
        token = self.number()
        self.open_tokens[token] = connection
        self.perform(
            self.ledger.unit(connection, token, [MESSAGE], [(d, Outcome.ACCEPT) for d in deliveries])
        )

    def answerable(self) -> list[int]:
        return sorted(set(self.open_tokens) & (self.plain | self.sent))

    @precondition(lambda self: self.answerable())
    @rule(data=st.data())
    def confirm(self, data) -> None:
        token = data.draw(st.sampled_from(self.answerable()))
        del self.open_tokens[token]
        if token in self.sent:
            self.sent.discard(token)
            for settlement in self.units.pop(token).settlements:
                self.record(settlement)
        self.perform(self.ledger.confirm(token))

    @precondition(lambda self: self.answerable())
    @rule(data=st.data(), code=st.sampled_from(["unroutable", "full"]))
    def refuse(self, data, code) -> None:
        token = data.draw(st.sampled_from(self.answerable()))
        del self.open_tokens[token]
        self.sent.discard(token)
        self.units.pop(token, None)
        self.perform(self.ledger.refuse(token, code, "why"))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), gate=st.integers(0, 3))
    def drop(self, data, gate) -> None:
        connection = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held.pop(connection)
        actions = self.ledger.drop(connection, {connection: gate})
        assert {a.tag for a in actions} == set(held.values())
        assert [a.outcome for a in actions] == [
            Outcome.FORFEIT if i < gate else Outcome.RELEASE for i in range(len(actions))
        ]
        self.perform(actions)

    @rule()
    def poll(self) -> None:
        self.ledger.polled()

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "held"):
            assert self.ledger.unsettled == sum(map(len, self.held.values()))

    @invariant()
    def nothing_waits_longer_than_it_must(self) -> None:
        if hasattr(self, "held"):
            for token in set(self.open_tokens) - self.plain - self.sent:
                assert self.plain_before(token), "a unit waits for nothing"
            for tags in self.order.values():
                assert not tags or self.barrier[tags[0]] & set(self.open_tokens), (
                    "a settlement waits for nothing"
                )

    def teardown(self) -> None:
        if not hasattr(self, "held"):
            return
        while self.answerable():
            token = self.answerable()[0]
            del self.open_tokens[token]
            if token in self.sent:
                self.sent.discard(token)
                for settlement in self.units.pop(token).settlements:
                    self.record(settlement)
            self.perform(self.ledger.confirm(token))
        for connection in list(self.held):
            self.perform(self.ledger.drop(connection, {}))
        self.ledger.polled()
        assert set(self.barrier) <= set(self.settled), "a delivery that nobody settled"
        assert not self.ledger._accounts, "a connection that is not forgotten"


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
