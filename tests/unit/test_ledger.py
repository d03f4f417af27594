"""The ledger: who holds what, and the settlement barrier."""

from __future__ import annotations

import itertools

import pytest

from zocalo_daemon.brokers.base import Kind, Outcome, Publication, Refused, Settlement
from zocalo_daemon.relay.ledger import Ledger, Unit

WORKER, OTHER = 1, 2
CONSUMER = 7
MESSAGE = Publication(Kind.QUEUE, "out", {}, b"")


def make(ordered: bool = False) -> Ledger:
    ledger = Ledger(itertools.count(100), ordered=ordered)
    ledger.open(WORKER)
    ledger.open(OTHER)
    return ledger


def accept(tag: int) -> Settlement:
    return Settlement(tag, Outcome.ACCEPT)


def test_deliveries_are_numbered_from_the_first():
    ledger = make()
    assert [ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6)] == [100, 101]
    assert ledger.number() == 102
    assert ledger.held(WORKER) == ledger.unsettled == 2


def test_without_publications_a_settlement_passes_at_once():
    ledger = make()
    delivery = ledger.take(WORKER, CONSUMER, 5)
    assert ledger.settle(WORKER, [delivery], Outcome.ACCEPT) == [accept(5)]
    assert ledger.held(WORKER) == ledger.unsettled == 0


def test_a_settlement_waits_for_the_publications_before_it():
    ledger = make()
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    ledger.publish(WORKER, 2)
    assert ledger.settle(WORKER, [delivery], Outcome.ACCEPT) == []
    ledger.publish(WORKER, 3)
    assert ledger.confirm(2) == []
    assert ledger.confirm(1) == [accept(5)]
    assert not ledger.is_idle(WORKER)
    assert ledger.confirm(3) == []


def test_settlements_pass_in_their_order():
    ledger = make()
    first, second = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6))
    ledger.publish(WORKER, 1)
    assert ledger.settle(WORKER, [first], Outcome.ACCEPT) == []
    ledger.publish(WORKER, 2)
    assert ledger.settle(WORKER, [second], Outcome.REJECT, "why") == []
    assert ledger.confirm(2) == []
    assert ledger.confirm(1) == [accept(5), Settlement(6, Outcome.REJECT, "why")]


def test_one_connection_does_not_wait_for_another():
    ledger = make()
    delivery = ledger.take(OTHER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    assert ledger.settle(OTHER, [delivery], Outcome.ACCEPT) == [accept(5)]


def test_a_release_waits_for_nothing():
    ledger = make()
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    assert ledger.settle(WORKER, [delivery], Outcome.RELEASE) == [Settlement(5, Outcome.RELEASE)]


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("unroutable", Outcome.REJECT, "unroutable: no such queue"),
        ("invalid", Outcome.REJECT, "invalid: no such queue"),
        ("full", Outcome.REQUEUE, "no such queue"),
        ("failed", Outcome.REQUEUE, "no such queue"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_a_refusal_falls_on_the_next_settlement(code, outcome, reason, early):
    ledger = make()
    first, second = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6))
    ledger.publish(WORKER, 1)
    if early:  # the refusal comes before the ack
        assert ledger.refuse(1, code, "no such queue") == []
        actions = ledger.settle(WORKER, [first], Outcome.ACCEPT)
    else:
        assert ledger.settle(WORKER, [first], Outcome.ACCEPT) == []
        actions = ledger.refuse(1, code, "no such queue")
    assert actions == [Settlement(5, outcome, reason)]
    assert ledger.settle(WORKER, [second], Outcome.ACCEPT) == [accept(6)]


def test_a_refusal_falls_on_all_deliveries_of_a_settlement():
    ledger = make()
    deliveries = [ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6)]
    ledger.publish(WORKER, 1)
    ledger.settle(WORKER, deliveries, Outcome.ACCEPT)
    assert [a.outcome for a in ledger.refuse(1, "unroutable", "")] == [Outcome.REJECT] * 2


def test_a_refusal_does_not_change_what_goes_back_anyway():
    ledger = make()
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    ledger.settle(WORKER, [delivery], Outcome.REQUEUE)
    assert ledger.refuse(1, "unroutable", "no") == [Settlement(5, Outcome.REQUEUE)]


def test_find_covers_what_was_delivered_before():
    ledger = make()
    one, two, three = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6, 7))
    ledger.take(WORKER, CONSUMER + 1, 8)
    assert ledger.find(WORKER, CONSUMER, two, False) == [two]
    assert ledger.find(WORKER, CONSUMER, two, True) == [one, two]
    assert ledger.find(WORKER, CONSUMER + 1, two, False) == []
    assert ledger.find(OTHER, CONSUMER, two, False) == []
    ledger.settle(WORKER, [one], Outcome.ACCEPT)
    assert ledger.find(WORKER, CONSUMER, one, False) == []
    assert ledger.find(WORKER, CONSUMER, three, True) == [two, three]


def test_a_dead_worker_forfeits_what_it_had_and_releases_what_it_had_buffered():
    ledger = make()
    for tag in (5, 6, 7):
        ledger.take(WORKER, CONSUMER, tag)
    ledger.take(WORKER, CONSUMER + 1, 8)
    actions = ledger.drop(WORKER, {CONSUMER: 1, CONSUMER + 1: 2})
    assert {a.tag: a.outcome for a in actions} == {
        5: Outcome.FORFEIT,
        6: Outcome.RELEASE,
        7: Outcome.RELEASE,
        8: Outcome.FORFEIT,
    }
    assert ledger.unsettled == 0


def test_what_a_dead_worker_had_settled_still_waits_for_the_barrier():
    ledger = make()
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    ledger.settle(WORKER, [delivery], Outcome.ACCEPT)
    assert ledger.drop(WORKER, {CONSUMER: 1}) == []
    assert ledger.confirm(1) == [accept(5)]


def test_a_unit_waits_for_the_publications_before_it_and_holds_back_those_after():
    ledger = make()
    first, second = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6))
    ledger.publish(WORKER, 1)
    assert ledger.unit(WORKER, 2, [MESSAGE], [(first, Outcome.ACCEPT)]) == []
    assert ledger.settle(WORKER, [second], Outcome.ACCEPT) == []
    assert ledger.confirm(1) == [Unit(2, [MESSAGE], [accept(5)])]
    assert ledger.confirm(2) == [accept(6)]


@pytest.mark.parametrize(("code", "outcome"), [("unroutable", Outcome.REJECT), ("full", Outcome.REQUEUE)])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_refused_unit_takes_its_own_deliveries_with_it(ordered, code, outcome):
    ledger = make(ordered)
    first, second = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6))
    assert len(ledger.unit(WORKER, 1, [MESSAGE], [(first, Outcome.ACCEPT)])) == 1
    assert ledger.refuse(1, code, "why") == [Settlement(5, outcome, "why")]
    assert ledger.settle(WORKER, [second], Outcome.ACCEPT) == [accept(6)]


def test_a_unit_after_a_refused_message_does_not_happen():
    ledger = make()
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    ledger.refuse(1, "unroutable", "why")
    actions = ledger.unit(WORKER, 2, [MESSAGE], [(delivery, Outcome.ACCEPT)])
    assert actions == [Settlement(5, Outcome.REJECT, "why"), Refused(2, "unroutable", "why")]
    assert ledger.is_idle(WORKER)


def test_a_unit_that_waits_for_a_message_falls_with_it():
    ledger = make()
    first, second, third = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6, 7))
    ledger.publish(WORKER, 1)
    assert ledger.unit(WORKER, 2, [MESSAGE], [(first, Outcome.ACCEPT)]) == []
    assert ledger.settle(WORKER, [second], Outcome.ACCEPT) == []
    assert ledger.unit(WORKER, 3, [MESSAGE], [(third, Outcome.ACCEPT)]) == []
    assert ledger.refuse(1, "full", "why") == [
        Settlement(5, Outcome.REQUEUE, "why"),
        Refused(2, "full", "why"),
        accept(6),
        Unit(3, [MESSAGE], [accept(7)]),
    ]


def test_a_refusal_falls_on_a_settlement_before_it_falls_on_a_unit():
    ledger = make()
    first, second = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6))
    ledger.publish(WORKER, 1)
    assert ledger.settle(WORKER, [first], Outcome.ACCEPT) == []
    assert ledger.unit(WORKER, 2, [MESSAGE], [(second, Outcome.ACCEPT)]) == []
    assert ledger.refuse(1, "unroutable", "why") == [
        Settlement(5, Outcome.REJECT, "unroutable: why"),
        Unit(2, [MESSAGE], [accept(6)]),
    ]


def test_a_unit_without_deliveries_goes_on_and_leaves_the_refusal_to_the_next_settlement():
    ledger = make()
    first = ledger.take(WORKER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    assert ledger.unit(WORKER, 2, [MESSAGE], []) == []
    assert ledger.refuse(1, "full", "why") == [Unit(2, [MESSAGE], [])]
    assert ledger.confirm(2) == []
    assert ledger.settle(WORKER, [first], Outcome.ACCEPT) == [Settlement(5, Outcome.REQUEUE, "why")]


def test_a_unit_does_not_wait_for_units_before_it():
    ledger = make()
    first, second, third = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6, 7))
    assert ledger.unit(WORKER, 1, [MESSAGE], [(first, Outcome.ACCEPT)]) == [Unit(1, [MESSAGE], [accept(5)])]
    assert ledger.settle(WORKER, [second], Outcome.ACCEPT) == []  # it comes after the first one's messages
    assert ledger.unit(WORKER, 2, [MESSAGE], [(third, Outcome.ACCEPT)]) == [Unit(2, [MESSAGE], [accept(7)])]
    assert ledger.confirm(2) == []
    assert not ledger.is_idle(WORKER)
    assert ledger.confirm(1) == [accept(6)]
    ledger.polled()
    assert ledger.is_idle(WORKER)


def test_units_wait_only_for_the_messages_before_them():
    ledger = make()
    first, second = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6))
    ledger.publish(WORKER, 1)
    assert ledger.unit(WORKER, 2, [MESSAGE], [(first, Outcome.ACCEPT)]) == []
    ledger.publish(WORKER, 3)
    assert ledger.unit(WORKER, 4, [MESSAGE], [(second, Outcome.ACCEPT)]) == []
    assert ledger.confirm(1) == [Unit(2, [MESSAGE], [accept(5)])]
    assert ledger.confirm(3) == [Unit(4, [MESSAGE], [accept(6)])]


def test_an_ordered_broker_gets_settlements_at_once():
    ledger = make(ordered=True)
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.publish(WORKER, 1)
    assert ledger.settle(WORKER, [delivery], Outcome.ACCEPT) == [accept(5)]
    assert not ledger.is_idle(WORKER)
    assert ledger.confirm(1) == []
    ledger.polled()
    assert ledger.is_idle(WORKER)


@pytest.mark.parametrize(("code", "outcome"), [("unroutable", Outcome.REJECT), ("full", Outcome.REQUEUE)])
def test_an_ordered_broker_fails_settlements_with_the_refusal_before_them(code, outcome):
    ledger = make(ordered=True)
    first, second = (ledger.take(WORKER, CONSUMER, tag) for tag in (5, 6))
    ledger.publish(WORKER, 1)
    ledger.settle(WORKER, [first], Outcome.ACCEPT)
    ledger.settle(WORKER, [second], Outcome.ACCEPT)
    ledger.refuse(1, code, "why")
    ledger.fail(5)
    ledger.fail(6)
    ledger.polled()
    assert [(s.tag, s.outcome) for s in ledger.retry()] == [(5, outcome), (6, Outcome.ACCEPT)]
    assert not ledger.has_failed


def test_a_settlement_that_failed_is_made_again_until_it_holds():
    ledger = make(ordered=True)
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.settle(WORKER, [delivery], Outcome.REJECT, "why")
    for _ in range(3):
        ledger.fail(5)
        ledger.polled()
        assert ledger.has_failed
        assert ledger.retry() == [Settlement(5, Outcome.REJECT, "why")]
    ledger.polled()
    assert ledger.retry() == []


def test_a_failed_settlement_keeps_a_connection_from_being_idle():
    ledger = make(ordered=True)
    delivery = ledger.take(WORKER, CONSUMER, 5)
    ledger.settle(WORKER, [delivery], Outcome.ACCEPT)
    ledger.fail(5)
    ledger.polled()
    assert not ledger.is_idle(WORKER)
    ledger.retry()
    assert not ledger.is_idle(WORKER)
    ledger.polled()
    assert ledger.is_idle(WORKER)


def test_a_failure_of_something_long_settled_is_only_released():
    ledger = make()
    ledger.fail(99)
    assert ledger.retry() == [Settlement(99, Outcome.RELEASE)]


def test_a_confirmation_that_nobody_waits_for_is_nothing():
    ledger = make()
    assert ledger.confirm(42) == []
    assert ledger.refuse(42, "full", "") == []


@pytest.mark.parametrize(
    ("begun", "forfeited"),
    [
        (None, [5, 6, 7]),  # nobody knows: as many as the service could have
        (0, []),
        (100, [5]),
        (101, [5, 6]),
        (99, []),  # settled already; the others had not begun
    ],
)
def test_of_a_dead_worker_only_what_had_begun_is_forfeited(begun, forfeited):
    ledger = make()
    for tag in (5, 6, 7, 8):
        ledger.take(WORKER, CONSUMER, tag)
    actions = ledger.drop(WORKER, {CONSUMER: 3}, begun)
    assert [action.tag for action in actions if action.outcome is Outcome.FORFEIT] == forfeited
    assert {action.outcome for action in actions} <= {Outcome.FORFEIT, Outcome.RELEASE}


def test_another_subscription_has_an_order_of_its_own():
    ledger = make()
    ledger.take(WORKER, CONSUMER + 1, 8)
    ledger.take(WORKER, CONSUMER, 5)
    ledger.take(WORKER, CONSUMER + 1, 9)
    actions = ledger.drop(WORKER, {CONSUMER: 1, CONSUMER + 1: 2}, begun=101)
    assert [(a.tag, a.outcome) for a in actions] == [(tag, Outcome.FORFEIT) for tag in (8, 5, 9)]


def test_the_delivery_that_kills_is_rejected_with_the_reason_and_no_other():
    ledger = make()
    for tag in (5, 6, 7):
        ledger.take(WORKER, CONSUMER, tag)
    assert ledger.holding(WORKER, 101) == (CONSUMER, 6)
    assert ledger.holding(WORKER, 200) is None
    assert ledger.drop(WORKER, {CONSUMER: 3}, 101, "three workers") == [
        Settlement(5, Outcome.FORFEIT),
        Settlement(6, Outcome.REJECT, "three workers"),
        Settlement(7, Outcome.RELEASE),
    ]
    assert ledger.unsettled == 0
