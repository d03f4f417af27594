"""The rest of CommonTransport's calls, as workflows 3.3 and 3.7 describe them, with each driver."""

from __future__ import annotations

import pytest
import workflows
from workflows.transport.middleware import CounterMiddleware

from tests.brokers.conftest import Inbox
from tests.waiting import wait_until


def settled(relay, queue):
    figures = relay.queue(queue)
    return figures["ready"] + figures["delayed"] + figures["unsettled"] == 0


def test_subscriptions_of_all_kinds_are_numbered_together(transport, queue):
    first = transport.subscribe(queue, Inbox())
    second = transport.subscribe_broadcast(queue, Inbox())
    third = transport.subscribe_temporary("x", Inbox()).subscription_id
    assert (second, third) == (first + 1, first + 2)


def test_every_kind_can_do_without_mangling(transport, other, queue):
    inboxes = [Inbox(), Inbox(), Inbox()]
    transport.subscribe(queue, inboxes[0], disable_mangling=True)
    transport.subscribe_broadcast(queue, inboxes[1], disable_mangling=True)
    name = transport.subscribe_temporary("x", inboxes[2], disable_mangling=True).queue_name
    other.send(queue, {"a": 1})
    other.broadcast(queue, {"a": 1})
    other.send(name, {"a": 1})
    for inbox in inboxes:
        inbox.wait(1)
        assert inbox.messages == [b'{"a": 1}']


def test_an_interceptor_gets_callbacks_of_every_kind(transport, other, queue):
    seen = []
    transport.subscription_callback_set_intercept(
        lambda callback: lambda header, message: seen.append((callback, message))
    )
    transport.subscribe(queue, Inbox())
    transport.subscribe_broadcast(queue, Inbox())
    name = transport.subscribe_temporary("x", Inbox()).queue_name
    other.send(queue, 1)
    other.broadcast(queue, 2)
    other.send(name, 3)
    wait_until(lambda: {message for _, message in seen} == {b"1", b"2", b"3"}, "all three, before mangling")
    transport.subscription_callback_set_intercept(None)


def test_a_delivery_is_named_by_its_header_or_by_its_numbers(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True, prefetch_count=4)
    for number in range(4):
        transport.send(queue, number)
    inbox.wait(4)
    names = [header["message-id"] for header in inbox.headers]
    transport.ack(inbox.headers[0])
    transport.ack({"message-id": names[1]}, inbox.number)
    transport.ack(names[2], subscription_id=inbox.number)
    transport.nack(names[3], inbox.number)
    wait_until(lambda: settled(relay, queue) and relay.queue(f"dlq.{queue}")["ready"] == 1, "all settled")


def test_what_is_settled_for_a_subscription_can_only_be_its_own(transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    stranger = take(f"{queue}.1", acknowledgement=True)
    transport.send(queue, 1)
    inbox.wait(1)
    with pytest.raises(workflows.Error, match="not in hand"):
        transport.ack(inbox.headers[0], subscription_id=stranger.number)
    with pytest.raises(workflows.Error, match="not in hand"):
        transport.ack(inbox.headers[0]["message-id"], subscription_id=99)
    transport.ack(inbox.headers[0])


def test_everything_that_can_be_sent_can_be_sent_in_a_transaction(relay, transport, other, take, queue):
    news = Inbox()
    other.subscribe_broadcast(queue, news)
    inbox = take(queue, other)
    transaction = transport.transaction_begin()
    transport.send(queue, {"n": 1}, headers={"h": "x"}, transaction=transaction)
    transport.raw_send(queue, b"2", transaction=transaction, expiration=60)
    transport.broadcast(queue, "news", transaction=transaction)
    transport.raw_broadcast(queue, b"raw news", transaction=transaction)
    transport.send(queue, "late", transaction=transaction, delay=0.2)
    assert not inbox.items and not news.items
    transport.transaction_commit(transaction)
    inbox.wait(3)
    news.wait(2)
    assert inbox.messages == [{"n": 1}, 2, "late"] and inbox.headers[0]["h"] == "x"
    assert news.messages == ["news", b"raw news"]


def test_a_transaction_settles_several_and_an_aborted_one_none(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True, prefetch_count=5)
    for number in range(5):
        transport.send(queue, number)
    inbox.wait(5)
    aborted = transport.transaction_begin(subscription_id=inbox.number)
    transport.nack(inbox.headers[0], transaction=aborted)
    transport.ack(inbox.headers[2], multiple=True, transaction=aborted)
    transport.transaction_abort(aborted)
    assert transport.in_hand() == 5
    transaction = transport.transaction_begin(subscription_id=inbox.number)
    transport.ack(inbox.headers[3], multiple=True, transaction=transaction)
    transport.nack(inbox.headers[4], transaction=transaction)
    transport.transaction_commit(transaction)
    wait_until(lambda: settled(relay, queue) and relay.queue(f"dlq.{queue}")["ready"] == 1, "all settled")
    assert transport.in_hand() == 0


def test_a_transaction_ends_once(transport):
    for end in (transport.transaction_commit, transport.transaction_abort):
        transaction = transport.transaction_begin()
        assert transport.is_reconnectable is False
        end(transaction)
        assert transport.is_reconnectable is True
        for again in (transport.transaction_commit, transport.transaction_abort):
            with pytest.raises(workflows.Error, match="unknown"):
                again(transaction)


def test_two_transactions_at_once_do_not_mix(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True, prefetch_count=2)
    for number in range(2):
        transport.send(queue, number)
    inbox.wait(2)
    both = [transport.transaction_begin() for _ in range(2)]
    for transaction, header, message in zip(both, inbox.headers, inbox.messages, strict=True):
        transport.send(f"{queue}.out", message, transaction=transaction)
        transport.ack(header, transaction=transaction)
    transport.transaction_abort(both[0])
    transport.transaction_commit(both[1])
    out = take(f"{queue}.out")
    out.wait(1)
    assert out.messages == [1] and transport.in_hand() == 1
    transport.ack(inbox.headers[0])
    wait_until(lambda: settled(relay, queue), "an empty queue")


def test_middleware_sees_rejections_and_transactions(relay, queue):
    counter = CounterMiddleware()
    transport = relay.transport(connect=False)
    transport.add_middleware(counter)
    transport.connect()
    inbox = Inbox()
    number = transport.subscribe(queue, inbox, acknowledgement=True)
    transport.send(queue, 1)
    inbox.wait(1)
    transport.nack(inbox.headers[0])
    for end in (transport.transaction_commit, transport.transaction_abort):
        end(transport.transaction_begin())
    transport.unsubscribe(number)
    assert (counter.subscribe_count, counter.send_count, counter.nack_count) == (1, 1, 1)
    assert counter.transaction_begin_count == 2
    assert (counter.transaction_commit_count, counter.transaction_abort_count) == (1, 1)
    transport.disconnect()
