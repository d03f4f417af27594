"""Subscriptions and transactions of a transport."""

from __future__ import annotations

import pytest
import workflows

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.worker import subscription as module
from zocalo_daemon.worker.subscription import Subscription, Transaction


def make(gate: int = 1, kind: int = protocol.QUEUE, count: int = 0, ack: bool = True) -> Subscription:
    subscription = Subscription(1, kind, "q", {"ack": ack}, gate)
    subscription.buffer.extend([protocol.DELIVER, 1, delivery] for delivery in range(10, 10 + count))
    return subscription


def take(subscription: Subscription) -> list[int]:
    return [frame[2] for frame in iter(subscription.next, None)]


def test_the_gate_bounds_what_is_in_hand():
    subscription = make(gate=2, count=4)
    assert take(subscription) == [10, 11]
    subscription.forget([10])
    assert take(subscription) == [12]
    assert subscription.give_back() == [13]


def test_a_topic_has_no_gate_and_gives_nothing_back():
    subscription = make(kind=protocol.TOPIC, count=3)
    assert take(subscription) == [10, 11, 12]
    assert not subscription.out and not subscription.settles_itself
    assert make(kind=protocol.TOPIC, count=3).give_back() == []


def test_multiple_covers_what_was_handed_out_before_and_is_free():
    subscription = make(gate=5, count=5)
    take(subscription)
    Transaction().settle(protocol.ACK, subscription, [11], None)
    assert subscription.find(12, True) == [10, 12]
    assert subscription.find(12, False) == [12]
    assert subscription.find(11, False) == subscription.find(99, True) == []


def test_an_ended_transaction_lets_go():
    subscription = make(count=1)
    take(subscription)
    transaction = Transaction()
    transaction.settle(protocol.NACK, subscription, [10], True)
    assert transaction.frame(7, wait=False) == [
        protocol.COMMIT, 7, False, [], [[protocol.NACK, 1, 10, False, True]],
    ]  # fmt: skip
    assert not subscription.is_free(10)
    transaction.release()
    assert subscription.is_free(10)


def test_losing_the_relay_spoils_transactions():
    subscription = make(gate=2, count=3)
    take(subscription)
    transaction = Transaction()
    transaction.settle(protocol.ACK, subscription, [11], None)
    assert subscription.lose() == [10, 11]
    assert transaction.spoilt
    assert not subscription.out and not subscription.buffer
    transaction.release()
    assert not subscription.out


def test_unseen_is_what_no_callback_has_begun():
    subscription = make(gate=3, count=3)
    take(subscription)
    subscription.seen.add(11)
    assert subscription.unseen() == [10, 12]


def test_a_transaction_has_a_bound(monkeypatch):
    monkeypatch.setattr(module, "MAX_TRANSACTION", 100)
    transaction = Transaction()
    transaction.publish([], 60)
    with pytest.raises(workflows.Error, match="120 bytes"):
        transaction.publish([], 60)
    assert len(transaction.publications) == 1
