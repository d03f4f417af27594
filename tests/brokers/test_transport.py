"""What services rely on, call by call: RelayTransport against a real relay with each driver."""

from __future__ import annotations

import decimal
import json
import subprocess
import sys
import threading
import time

import pytest
import workflows
from workflows.transport.common_transport import TemporarySubscription
from workflows.transport.middleware import CounterMiddleware

from tests.brokers.conftest import Inbox
from tests.waiting import wait_until
from zocalo_daemon.protocol.worker import MAX_FRAME
from zocalo_daemon.worker.transport import RelayTransport

PIKA_HEADERS = {
    "consumer_tag",
    "delivery_mode",
    "exchange",
    "message-id",
    "redelivered",
    "routing_key",
    "subscription",
}
STOMP_HEADERS = {"destination", "expires", "persistent", "priority", "timestamp"}  # besides, on ActiveMQ


def given(relay):
    """The headers that a callback gets of every message."""
    return PIKA_HEADERS | STOMP_HEADERS if relay.driver == "activemq" else PIKA_HEADERS


def carried(relay, value):
    """What a header arrives as: STOMP knows only text."""
    return str(value) if relay.driver == "activemq" else value


def settled(relay, queue):
    figures = relay.queue(queue)
    return figures["ready"] + figures["delayed"] + figures["unsettled"] == 0


# -- Sending and receiving


def test_callbacks_get_the_headers_that_pika_gives(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, {"a": 1}, headers={"x-own": "y", "number": 3})
    wait_until(lambda: inbox.items, "a message")
    header, message = inbox.items[0]
    assert message == {"a": 1}
    assert set(header) == given(relay) | {"x-own", "number"}
    assert header["x-own"] == "y" and header["number"] == carried(relay, 3)
    assert header["routing_key"] == queue and header["exchange"] == ""
    assert header["delivery_mode"] == 2 and header["redelivered"] is False
    assert header["subscription"] == inbox.number and header["consumer_tag"] == str(inbox.number)
    assert isinstance(header["message-id"], int)


def test_a_message_without_headers_works(relay, transport, take, queue):
    inbox = take(queue)
    transport.send(queue, "text", headers=None)
    transport.raw_send(queue, b"raw")
    wait_until(lambda: len(inbox.items) == 2, "both messages")
    assert set(inbox.headers[0]) == given(relay)


def test_json_with_decimal_as_float(transport, take, queue):
    inbox = take(queue)
    transport.send(queue, {"price": decimal.Decimal("1.5")})
    wait_until(lambda: inbox.items, "a message")
    assert inbox.messages == [{"price": 1.5}]
    with pytest.raises(TypeError, match="not JSON serializable"):
        transport.send(queue, object())


def test_bodies_are_bytes_before_mangling(transport, take, queue):
    inbox = take(queue, disable_mangling=True)
    transport.send(queue, [1])
    transport.raw_send(queue, "text ü")
    transport.raw_send(queue, b"\x00\xff")
    wait_until(lambda: len(inbox.items) == 3, "the messages")
    assert inbox.messages == [b"[1]", "text ü".encode(), b"\x00\xff"]


def test_what_is_no_json_arrives_as_it_is(transport, take, queue):
    inbox = take(queue)
    transport.raw_send(queue, b"\xff not json")
    wait_until(lambda: inbox.items, "a message")
    assert inbox.messages == [b"\xff not json"]


def test_the_headers_of_the_caller_are_not_changed(transport, take, queue):
    take(queue)
    headers = {"a": 1}
    transport.send(queue, 1, headers=headers, delay=0.01, expiration=60)
    transport.broadcast(queue, 1, headers=headers)
    assert headers == {"a": 1}


def test_header_values_of_every_plain_type(relay, transport, take, queue):
    inbox = take(queue)
    headers = {"t": "ü", "i": 2**40, "f": 1.5, "b": True, "n": None, "y": b"\xff", "l": [1], "d": {"k": "v"}}
    transport.send(queue, 1, headers={**headers, "dec": decimal.Decimal("2.5")})
    wait_until(lambda: inbox.items, "a message")
    expected = {**headers, "dec": 2.5}
    if relay.driver == "activemq":
        expected = {key: str(value) for key, value in expected.items() if value is not None}
        expected |= {"y": "\ufffd", "d": '{"k": "v"}'}
    assert {k: v for k, v in inbox.headers[0].items() if k not in given(relay)} == expected


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"a": object()}},
        {"headers": {1: "a"}},
        {"headers": {"a": 2**70}},
        {"delay": "soon"},
        {"expiration": float("nan")},
        {"priority": 11},
    ],
)
def test_what_cannot_be_sent_is_an_error_and_the_next_send_works(transport, take, queue, options):
    inbox = take(queue)
    with pytest.raises(workflows.Error):
        transport.send(queue, 1, **options)
    transport.send(queue, 2)
    wait_until(lambda: inbox.items, "a message")
    assert inbox.messages == [2]


def test_a_message_over_the_limit_is_an_error_and_a_large_one_passes(transport, take, queue):
    inbox = take(queue, disable_mangling=True)
    with pytest.raises(workflows.Error, match="limit"):
        transport.raw_send(queue, bytes(MAX_FRAME))
    transport.raw_send(queue, bytes(5_000_000))
    wait_until(lambda: inbox.items, "a message")
    assert len(inbox.messages[0]) == 5_000_000


def test_order_is_kept(transport, other, take, queue):
    inbox = take(queue)
    for number in range(300):
        other.send(queue, number)
    wait_until(lambda: len(inbox.items) == 300, "all messages")
    assert inbox.messages == list(range(300))


def test_delay(transport, take, queue):
    inbox = take(queue)
    begin = time.monotonic()
    transport.send(queue, "late", delay=0.4)
    transport.send(queue, "early")
    wait_until(lambda: len(inbox.items) == 2, "both messages")
    assert inbox.messages == ["early", "late"]
    assert time.monotonic() - begin >= 0.4


def test_expiration_may_be_a_fraction(relay, transport, take, queue):
    transport.send(queue, "gone", expiration=0.1)
    transport.send(queue, "kept", expiration=30.5)
    time.sleep(0.15)
    inbox = take(queue)
    wait_until(lambda: inbox.items, "a message")
    assert inbox.messages == ["kept"]


def test_an_exchange_that_is_not_there_is_an_error_and_poisons_nothing(transport, take, queue):
    inbox = take(queue)
    with pytest.raises(workflows.Error, match="exchange"):
        transport.send(queue, 1, exchange="nowhere")
    transport.send(queue, 2)
    wait_until(lambda: inbox.items, "a message")
    assert inbox.messages == [2]


def test_arguments_of_other_transports_are_accepted(transport, take, queue):
    inbox = take(queue, reconnectable=True, ignore_namespace=True, acknowledgement=False)
    transport.send(queue, 1, persistent=False, ignore_namespace=True)
    transport.send(queue, 2, persistent="false", priority=4)
    wait_until(lambda: len(inbox.items) == 2, "both messages")


# -- Acknowledging


def test_one_delivery_is_handed_out_until_it_is_acknowledged(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    for number in range(3):
        transport.send(queue, number)
    wait_until(lambda: inbox.items, "the first message")
    assert transport.in_hand() == 1
    transport.ack(inbox.headers[0])
    wait_until(lambda: len(inbox.items) == 2, "the second message")
    transport.ack(inbox.headers[1]["message-id"], subscription_id=inbox.number)
    wait_until(lambda: len(inbox.items) == 3, "the third message")
    transport.ack(inbox.headers[2])
    wait_until(lambda: settled(relay, queue), "an empty queue")
    assert transport.in_hand() == 0


def test_prefetch_count_is_the_number_in_hand(relay, transport, take, queue):
    for number in range(5):
        transport.send(queue, number)
    inbox = take(queue, acknowledgement=True, prefetch_count=3)
    wait_until(lambda: len(inbox.items) == 3, "three messages")
    wait_until(lambda: relay.queue(queue)["unsettled"] == 3, "three that are out")
    transport.ack(inbox.headers[2], multiple=True)
    wait_until(lambda: len(inbox.items) == 5, "the others")
    assert relay.queue(queue)["unsettled"] == 2


def test_nack_dead_letters(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, "bad", headers={"a": 1})
    wait_until(lambda: inbox.items, "a message")
    transport.nack(inbox.headers[0])
    dead = take(f"dlq.{queue}", acknowledgement=True)
    wait_until(lambda: dead.items, "the dead letter")
    assert dead.messages == ["bad"] and dead.headers[0]["a"] == carried(relay, 1)
    death = dead.headers[0]["x-death"][0]
    assert (death["queue"], death["reason"], death["count"]) == (queue, "rejected", 1)
    transport.ack(dead.headers[0])


def test_nack_with_requeue_delivers_again(transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, 1)
    for turn in range(3):
        inbox.wait(turn + 1)
        assert inbox.headers[turn]["redelivered"] is (turn > 0)
        transport.nack(inbox.headers[turn], requeue=True)
    wait_until(lambda: len(inbox.items) == 4, "the message again")
    transport.ack(inbox.headers[3])


def test_nack_multiple(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True, prefetch_count=10)
    for number in range(4):
        transport.send(queue, number)
    wait_until(lambda: len(inbox.items) == 4, "four messages")
    transport.nack(inbox.headers[2], multiple=True, requeue=False)
    wait_until(lambda: relay.queue(f"dlq.{queue}")["ready"] == 3, "three dead letters")
    transport.ack(inbox.headers[3])


def test_acknowledging_twice_is_an_error_and_harms_nothing(transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, 1)
    transport.send(queue, 2)
    wait_until(lambda: inbox.items, "a message")
    transport.ack(inbox.headers[0])
    with pytest.raises(workflows.Error, match="not in hand"):
        transport.ack(inbox.headers[0])
    wait_until(lambda: len(inbox.items) == 2, "the next message")
    transport.ack(inbox.headers[1])


@pytest.mark.parametrize("message", [{}, {"message-id": 1}, {"subscription": 1}])
def test_acknowledging_needs_ids(transport, message):
    with pytest.raises(workflows.Error, match="without"):
        transport.ack(message)
    with pytest.raises(workflows.Error, match="without"):
        transport.nack(message)


def test_without_acknowledgement_a_message_is_settled_after_its_callback(relay, transport, queue):
    begun, go = threading.Event(), threading.Event()

    def callback(header, message):
        begun.set()
        assert go.wait(20)

    transport.send(queue, 1)
    transport.subscribe(queue, callback)
    assert begun.wait(20)
    assert relay.queue(queue)["unsettled"] == 1
    go.set()
    wait_until(lambda: settled(relay, queue), "an empty queue")


def test_a_callback_that_fails_without_acknowledgement_loses_nothing(relay, transport, queue):
    seen = []

    def callback(header, message):
        seen.append(header["redelivered"])
        if len(seen) == 1:
            raise RuntimeError("once")

    transport.subscribe(queue, callback)
    transport.send(queue, 1)
    wait_until(lambda: len(seen) == 2, "the message again")
    assert seen == [False, True]
    wait_until(lambda: settled(relay, queue), "an empty queue")


DIE = """
import os, sys, time
from zocalo_daemon.worker.transport import RelayTransport
transport = RelayTransport.for_worker(sys.argv[1], "dying/0")
transport.connect()

def die(header, message):
    os.kill(os.getpid(), 9)

transport.subscribe(sys.argv[2], die, acknowledgement=sys.argv[3] == "True")
time.sleep(20)
"""


@pytest.mark.parametrize("acknowledgement", [True, False])
def test_a_worker_that_dies_in_a_callback_loses_nothing(relay, transport, take, queue, acknowledgement):
    for number in range(5):
        transport.send(queue, number)
    arguments = [sys.executable, "-c", DIE, str(relay.path), queue, str(acknowledgement)]
    assert subprocess.run(arguments, check=False).returncode == -9
    inbox = take(queue, acknowledgement=True, prefetch_count=10)
    wait_until(lambda: len(inbox.items) == 5, "all messages")
    assert sorted(inbox.messages) == [0, 1, 2, 3, 4]
    # Only the one in hand had been seen by anybody; the others waited in its buffer.
    assert [h["redelivered"] for h, m in inbox.items if m == 0] == [True]
    assert [h["redelivered"] for h, m in inbox.items if m != 0] == [False] * 4


# -- Subscribing


def test_unsubscribe_gives_back_what_waits(transport, other, take, queue):
    inbox = take(queue, acknowledgement=True)
    for number in range(4):
        other.send(queue, number)
    wait_until(lambda: inbox.items, "a message")
    transport.unsubscribe(inbox.number)
    rest = take(queue, other, acknowledgement=True, prefetch_count=10)
    wait_until(lambda: len(rest.items) == 3, "the others")
    assert sorted(rest.messages) == [1, 2, 3]
    assert not any(header["redelivered"] for header in rest.headers)
    transport.ack(inbox.headers[0])  # an ack after unsubscribe
    other.ack(rest.headers[2], multiple=True)


def test_unsubscribe_checks(transport, take, queue):
    inbox = take(queue)
    with pytest.raises(workflows.Error, match="unknown"):
        transport.unsubscribe(99)
    with pytest.raises(workflows.Error, match="live"):
        transport.drop_callback_reference(inbox.number)
    transport.unsubscribe(inbox.number)
    with pytest.raises(workflows.Error, match="already"):
        transport.unsubscribe(inbox.number)
    transport.drop_callback_reference(inbox.number)
    with pytest.raises(workflows.Error):
        transport.subscription_callback(inbox.number)


def test_unsubscribe_can_drop_the_callback(transport, take, queue):
    inbox = take(queue)
    assert not transport.is_reconnectable
    transport.unsubscribe(inbox.number, drop_callback_reference=True)
    assert transport.is_reconnectable


def test_temporary_queue(relay, transport, other):
    inbox = Inbox()
    made = transport.subscribe_temporary("hint", inbox)
    assert isinstance(made, TemporarySubscription)
    assert made.queue_name.startswith("transient.hint.")
    other.send(made.queue_name, "reply")
    wait_until(lambda: inbox.items, "the reply")
    assert inbox.headers[0]["subscription"] == made.subscription_id
    transport.unsubscribe(made.subscription_id)
    wait_until(lambda: relay.queue(made.queue_name)["consumers"] == 0, "the end of the queue")
    with pytest.raises(workflows.Error, match="gone"):
        other.send(made.queue_name, "too late")


@pytest.mark.parametrize("hint", [None, "", "transient.x"])
def test_temporary_queues_have_names_of_their_own(transport, hint):
    first, second = (transport.subscribe_temporary(hint, Inbox()) for _ in range(2))
    assert first.queue_name != second.queue_name
    assert first.queue_name.startswith("transient.")
    assert "transient.transient" not in first.queue_name


def test_temporary_queue_with_acknowledgement(transport):
    inbox = Inbox()
    made = transport.subscribe_temporary("x", inbox, acknowledgement=True)
    transport.send(made.queue_name, 1)
    wait_until(lambda: inbox.items, "a message")
    transport.ack(inbox.headers[0])


def test_broadcast_reaches_everybody(relay, transport, other, queue):
    one, two = Inbox(), Inbox()
    number = transport.subscribe_broadcast(queue, one)
    other.subscribe_broadcast(queue, two, disable_mangling=True)
    transport.broadcast(queue, {"a": 1}, headers={"h": 1}, expiration=3)
    transport.raw_broadcast(queue, b"raw")
    wait_until(lambda: len(one.items) == 2 and len(two.items) == 2, "both messages, twice")
    assert one.messages == [{"a": 1}, b"raw"] and two.messages == [b'{"a": 1}', b"raw"]
    assert one.headers[0]["h"] == carried(relay, 1) and one.headers[0]["subscription"] == number
    assert one.headers[0]["exchange"] == queue and one.headers[0]["routing_key"] == ""
    transport.unsubscribe(number)
    transport.broadcast(queue, 3)
    wait_until(lambda: len(two.items) == 3, "the last one")
    assert len(one.items) == 2


def test_broadcast_with_delay_and_to_nobody(transport, queue):
    inbox = Inbox()
    transport.broadcast(queue, "nobody listens")
    transport.subscribe_broadcast(queue, inbox)
    transport.broadcast(queue, "late", delay=0.2)
    transport.broadcast(queue, "early")
    wait_until(lambda: len(inbox.items) == 2, "both messages")
    assert inbox.messages == ["early", "late"]


def test_retroactive_subscribers_get_the_latest(relay, transport, queue):
    transport.broadcast(queue, 1)
    transport.broadcast(queue, 2)
    late, later = Inbox(), Inbox()
    transport.subscribe_broadcast(queue, late)
    transport.subscribe_broadcast(queue, later, retroactive=True)
    transport.broadcast(queue, 3)
    # RabbitMQ keeps no broadcasts, and PikaTransport ignores the word too.
    latest = [3] if relay.driver == "rabbitmq" else [1, 2, 3]
    wait_until(lambda: len(later.items) == len(latest) and late.items, "the latest messages")
    assert later.messages == latest and late.messages == [3]


def test_an_exclusive_consumer_gets_all_until_it_goes(relay, transport, other, take, queue):
    leader = take(queue, acknowledgement=True, exclusive=True, prefetch_count=100)
    standby = take(queue, other, acknowledgement=True, exclusive=True, prefetch_count=100)
    for number in range(6):
        other.send(queue, number)
    wait_until(lambda: len(leader.items) == 6, "all messages")
    assert standby.items == []
    transport.disconnect()
    wait_until(lambda: len(standby.items) == 6, "the same messages")
    other.ack(standby.headers[-1], multiple=True)


def test_consumers_of_a_higher_priority_come_first(transport, other, take, queue):
    low = take(queue, acknowledgement=True, prefetch_count=10)
    high = take(queue, other, acknowledgement=True, prefetch_count=3, priority=5)
    for number in range(4):
        transport.send(queue, number)
    wait_until(lambda: len(low.items) + len(high.items) == 4, "all messages")
    assert high.messages == [0, 1, 2] and low.messages == [3]


def test_messages_of_a_higher_priority_come_first(relay, transport, take, queue):
    transport.send(queue, "normal")
    transport.send(queue, "low", priority=1)
    transport.send(queue, "high", priority=9)
    inbox = take(queue)
    wait_until(lambda: len(inbox.items) == 3, "all messages")
    # AMQP 0-9-1 has no normal priority: without one a message is the lowest, as all of PikaTransport are.
    lower = ["low", "normal"] if relay.driver == "rabbitmq" else ["normal", "low"]
    assert inbox.messages == ["high", *lower]


def test_a_selector_is_obeyed_or_refused_and_nothing_is_left(relay, transport, take, queue):
    if relay.driver == "activemq":
        chosen = take(queue, selector="a = '1'")
        for number in (0, 1, 2):
            transport.send(queue, number, headers={"a": number})
        chosen.wait(1)
        rest = take(queue)
        rest.wait(2)
        assert (chosen.messages, rest.messages) == ([1], [0, 2])
        return
    with pytest.raises(workflows.Error, match="selector"):
        take(queue, selector="a = 1")
    assert transport.is_reconnectable
    assert transport.is_connected()


@pytest.mark.parametrize("options", [{"prefetch_count": -1}, {"prefetch_count": "many"}])
def test_wrong_options_are_errors(transport, take, queue, options):
    with pytest.raises(workflows.Error, match="prefetch_count"):
        take(queue, acknowledgement=True, **options)
    with pytest.raises(workflows.Error, match="name"):
        take("")


def test_a_busy_worker_keeps_no_message_from_an_idle_one(transport, other, take, queue):
    slow = take(queue, acknowledgement=True)
    # Short callbacks first, so that the window of the slow one grows.
    for number in range(200):
        other.send(queue, number)
    for number in range(200):
        slow.wait(number + 1)
        transport.ack(slow.headers[number])
    for number in range(40):
        other.send(queue, number)
    wait_until(lambda: len(slow.items) == 201, "the message that takes long")
    idle = Inbox()
    other.subscribe(queue, lambda h, m: (idle(h, m), other.ack(h)), acknowledgement=True)
    wait_until(lambda: len(idle.items) == 39, "all the other messages")
    transport.ack(slow.headers[200])


# -- Transactions


def test_a_transaction_happens_at_once_or_not_at_all(relay, transport, take, queue):
    inbox = take(queue)
    kept = transport.transaction_begin()
    dropped = transport.transaction_begin()
    transport.send(queue, 1, transaction=kept)
    transport.send(queue, 2, transaction=dropped)
    transport.broadcast(queue, 3, transaction=dropped)
    transport.send(queue, 4, transaction=kept, headers={"h": 1}, delay=0.1)
    transport.send(queue, "outside")
    wait_until(lambda: inbox.items, "the message outside")
    transport.transaction_abort(dropped)
    transport.transaction_commit(kept)
    wait_until(lambda: len(inbox.items) == 3, "the messages of the transaction")
    assert inbox.messages == ["outside", 1, 4]
    transport.send(queue, "after")
    wait_until(lambda: len(inbox.items) == 4, "a plain message after a transaction")


@pytest.mark.parametrize("with_subscription", [True, False])
def test_acknowledging_in_a_transaction(relay, transport, take, queue, with_subscription):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, 1)
    transport.send(queue, 2)
    wait_until(lambda: inbox.items, "a message")
    subscription = inbox.number if with_subscription else None
    transaction = transport.transaction_begin(subscription_id=subscription)
    transport.send(f"{queue}.out", "result", transaction=transaction)
    transport.ack(inbox.headers[0], transaction=transaction)
    assert relay.queue(f"{queue}.out")["ready"] == 0
    assert len(inbox.items) == 1
    transport.transaction_commit(transaction)
    wait_until(lambda: len(inbox.items) == 2, "the next message")
    wait_until(lambda: relay.queue(f"{queue}.out")["ready"] == 1, "the result")
    transport.ack(inbox.headers[1])
    wait_until(lambda: settled(relay, queue), "an empty queue")


def test_an_aborted_acknowledgement_can_be_made_again(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, 1)
    wait_until(lambda: inbox.items, "a message")
    transaction = transport.transaction_begin()
    transport.ack(inbox.headers[0], transaction=transaction)
    transport.transaction_abort(transaction)
    assert relay.queue(queue)["unsettled"] == 1
    transport.ack(inbox.headers[0])
    wait_until(lambda: settled(relay, queue), "an empty queue")


def test_what_is_sent_after_a_transaction_arrives(relay, transport, queue):
    """Defect 2 of the peers: after a commit, later sends of the same transport were lost without an error."""
    for number in range(3):
        transaction = transport.transaction_begin()
        transport.send(queue, number, transaction=transaction)
        transport.transaction_commit(transaction)
    for number in range(5):
        transport.send(queue, number)
    assert relay.queue(queue)["ready"] == 8


def test_rejecting_in_a_transaction(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, 1)
    wait_until(lambda: inbox.items, "a message")
    transaction = transport.transaction_begin()
    transport.nack(inbox.headers[0], transaction=transaction)
    transport.transaction_commit(transaction)
    wait_until(lambda: relay.queue(f"dlq.{queue}")["ready"] == 1, "the dead letter")


def test_unknown_transactions_are_errors(transport, queue):
    for call in (transport.transaction_abort, transport.transaction_commit):
        with pytest.raises(workflows.Error, match="unknown"):
            call(99)
    with pytest.raises(workflows.Error, match="no transaction"):
        transport.send(queue, 1, transaction=99)


def test_a_refused_transaction_is_an_error_and_nothing_of_it_happens(relay, transport, queue):
    transaction = transport.transaction_begin()
    transport.send(queue, 1, transaction=transaction)
    transport.send(queue, 2, transaction=transaction, exchange="nowhere")
    with pytest.raises(workflows.Error, match="exchange"):
        transport.transaction_commit(transaction)
    assert relay.queue(queue)["ready"] == 0
    assert transport.is_reconnectable


def test_a_refused_transaction_with_an_ack_dead_letters(relay, transport, take, queue):
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, 1)
    wait_until(lambda: inbox.items, "a message")
    transaction = transport.transaction_begin()
    transport.send(f"{queue}.out", 2, transaction=transaction, exchange="nowhere")
    transport.ack(inbox.headers[0], transaction=transaction)
    transport.transaction_commit(transaction)
    wait_until(lambda: relay.queue(f"dlq.{queue}")["ready"] == 1, "the dead letter")
    letter = relay.request("dlq.list", queues=[queue])["ok"][0]
    assert "exchange" in letter["reason"]


def test_a_transaction_has_a_bound(transport, queue):
    transaction = transport.transaction_begin()
    with pytest.raises(workflows.Error, match="limit"):
        for _ in range(10):
            transport.raw_send(queue, bytes(MAX_FRAME // 8), transaction=transaction)
    transport.transaction_abort(transaction)


# -- The settlement barrier


def test_a_message_that_is_refused_takes_its_delivery_to_the_dead_letters(relay, transport, queue):
    def callback(header, message):
        transport.send("nowhere", "result", exchange="nowhere")  # does not wait, so it cannot raise
        transport.ack(header)

    transport.subscribe(queue, callback, acknowledgement=True)
    transport.send(queue, 1)
    wait_until(lambda: relay.queue(f"dlq.{queue}")["ready"] == 1, "the dead letter")
    assert settled(relay, queue)
    assert "exchange" in relay.request("dlq.list", queues=[queue])["ok"][0]["reason"]


def test_what_is_sent_after_the_ack_waits_and_can_raise(relay, transport, queue):
    raised = []

    def callback(header, message):
        transport.ack(header)
        try:
            transport.send("nowhere", "result", exchange="nowhere")
        except workflows.Error as e:
            raised.append(e)

    transport.subscribe(queue, callback, acknowledgement=True)
    transport.send(queue, 1)
    wait_until(lambda: raised, "the error")


def test_calls_that_wait_work_within_a_callback(transport, queue):
    done = []

    def callback(header, message):
        made = transport.subscribe_temporary("x", Inbox())
        transport.unsubscribe(made.subscription_id)
        transaction = transport.transaction_begin()
        transport.send(f"{queue}.out", 1, transaction=transaction)
        transport.transaction_commit(transaction)
        transport.ack(header)
        done.append(message)

    transport.subscribe(queue, callback, acknowledgement=True)
    for number in range(20):
        transport.send(queue, number)
    wait_until(lambda: len(done) == 20, "all messages")


def test_what_comes_while_a_callback_waits_is_handed_out_after_it(relay, transport, other, take, queue):
    first = take(f"{queue}.1")
    done = threading.Event()

    def callback(header, message):
        other.send(f"{queue}.1", message)
        wait_until(lambda: relay.queue(f"{queue}.1")["unsettled"] == 1, "the message on its way")
        made = transport.subscribe_temporary("x", Inbox())  # reads on until it is answered
        transport.unsubscribe(made.subscription_id)
        done.set()

    transport.subscribe(queue, callback)
    other.send(queue, 1)
    assert done.wait(20)
    first.wait(1)


# -- Life


def test_connecting_twice_and_disconnecting_twice(relay, transport, queue):
    assert transport.connect() and transport.connect()
    assert transport.is_connected()
    transport.disconnect()
    transport.disconnect()
    assert not transport.is_connected()
    with pytest.raises(workflows.Disconnected):
        transport.send(queue, 1)
    with pytest.raises(workflows.Disconnected):
        transport.subscribe(queue, Inbox())
    assert transport.connect()
    transport.send(queue, 1)
    assert relay.queue(queue)["ready"] == 1


def test_without_a_relay_connecting_fails_in_time(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOCALO_RELAY_SOCKET", str(tmp_path / "relay.sock"))
    monkeypatch.setattr("zocalo_daemon.worker.transport.SCRIPT_TIMEOUT", 0.3)
    transport = RelayTransport()
    with pytest.raises(workflows.Disconnected, match=r"no relay answers.*is zocalod running"):
        transport.connect()
    assert not transport.is_connected()
    transport.disconnect()


def test_a_script_finds_the_relay(relay, monkeypatch, queue):
    monkeypatch.setenv("ZOCALO_RELAY_SOCKET", str(relay.path))
    transport = RelayTransport()
    assert transport.connect()
    transport.send(queue, 1)
    transport.disconnect()


def test_an_unknown_transport_is_refused(relay):
    transport = RelayTransport.for_worker(relay.path, "x/0", "rabbit")
    with pytest.raises(workflows.Disconnected, match="no transport 'rabbit'"):
        transport.connect()


def test_disconnect_waits_for_what_was_sent(relay, take, queue):
    transport = relay.transport()
    inbox = Inbox()
    transport.subscribe(f"{queue}.in", inbox, acknowledgement=True, prefetch_count=50)
    for number in range(50):
        transport.send(f"{queue}.in", number)
    wait_until(lambda: len(inbox.items) == 50, "all messages")
    for header in inbox.headers:
        transport.ack(header)
    transport.disconnect()
    assert settled(relay, f"{queue}.in")


def test_draining_gives_back_and_lets_settle(relay, transport, other, take, queue):
    inbox = take(queue, acknowledgement=True)
    for number in range(3):
        other.send(queue, number)
    wait_until(lambda: inbox.items, "a message")
    transport.drain()
    wait_until(lambda: relay.queue(queue)["ready"] == 2, "the others back in the queue")
    assert transport.in_hand() == 1
    transport.send(f"{queue}.out", "still possible")
    transport.ack(inbox.headers[0])
    wait_until(lambda: relay.queue(queue)["unsettled"] == 0, "the settlement")
    transport.drain()
    transport.unsubscribe(inbox.number)
    assert len(inbox.items) == 1 and transport.in_hand() == 0


def test_what_no_callback_has_begun_is_not_marked_when_a_service_ends(transport, other, take, queue):
    transport.subscription_callback_set_intercept(lambda callback: lambda header, message: None)
    take(queue, acknowledgement=True, prefetch_count=10)
    transport.subscription_callback_set_intercept(None)
    for number in range(3):
        other.send(queue, number)
    transport.disconnect()
    inbox = take(queue, other, acknowledgement=True, prefetch_count=10)
    wait_until(lambda: len(inbox.items) == 3, "the messages")


def test_two_transports_share_nothing(transport, other, take, queue):
    mine, theirs = take(f"{queue}.1"), take(f"{queue}.2", other)
    assert mine.number == theirs.number == 1
    transport.send(f"{queue}.1", "mine")
    transport.send(f"{queue}.2", "theirs")
    wait_until(lambda: mine.items and theirs.items, "both messages")
    assert mine.messages == ["mine"] and theirs.messages == ["theirs"]
    transaction = transport.transaction_begin()
    with pytest.raises(workflows.Error, match="unknown"):
        other.transaction_commit(transaction)
    transport.transaction_abort(transaction)


def test_an_interceptor_gets_every_callback(transport, take, queue):
    calls = []

    def intercept(callback):
        return lambda header, message: calls.append((callback, header, message))

    transport.subscription_callback_set_intercept(intercept)
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, 1)
    transport.send(queue, 2)
    wait_until(lambda: calls, "a call")
    assert inbox.items == []
    callback, header, message = calls[0]
    callback(header, message)
    assert inbox.messages == [1]
    # In the thread that settles: no other one has to wake up.
    transport.ack(header)
    wait_until(lambda: len(calls) == 2, "the next call")
    transport.subscription_callback_set_intercept(None)
    transport.ack(calls[1][1])


def test_middleware_sees_the_calls(relay, take, queue):
    transport = relay.transport(connect=False)
    counter = CounterMiddleware()
    transport.add_middleware(counter)
    transport.connect()
    inbox = Inbox()
    transport.subscribe(queue, inbox, acknowledgement=True)
    transport.send(queue, 1)
    wait_until(lambda: inbox.items, "a message")
    transport.ack(inbox.headers[0])
    transport.broadcast(queue, 1)
    assert (counter.subscribe_count, counter.send_count, counter.ack_count) == (1, 1, 1)
    assert counter.broadcast_count == 1
    transport.disconnect()


def test_status_broadcast(transport, other):
    inbox = Inbox()
    other.subscribe_broadcast("transient.status", inbox)
    status = {"host": "h", "workflows": "3", "status": 2}
    with pytest.raises(ValueError, match="Missing required field"):
        transport.broadcast_status({"host": "h"})
    transport.broadcast_status(status)
    wait_until(lambda: inbox.items, "the status")
    assert inbox.messages == [status]
    assert json.dumps(status)
