"""What only RabbitMQ does: confirms, returns, channel errors, delays, alarms, and its death and return."""

from __future__ import annotations

import itertools
import signal

import pika
import pytest

from tests.brokers.rabbitdriver import Driver, ready
from tests.ports import free_ports
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.brokers.base import (
    Confirmed,
    Delivered,
    Kind,
    Outcome,
    Publication,
    Refused,
    Settlement,
    SettlementFailed,
    SubscriptionFailed,
)

# -- Sending


def test_what_leads_nowhere_is_refused_and_nothing_else(driver, queue):
    tokens = [driver.send(queue), driver.send("nowhere"), driver.send(queue), driver.send("transient.a.b")]
    answers = [driver.answer(token) for token in tokens]
    assert [type(one) for one in answers] == [Confirmed, Refused, Confirmed, Refused]
    assert (answers[1].code, answers[1].reason) == ("unroutable", "there is no queue 'nowhere'")
    assert answers[3].reason == "the temporary queue 'transient.a.b' is gone"


def test_a_missing_exchange_harms_only_what_goes_there(driver, queue):
    bad = [driver.send("key", exchange="nowhere") for _ in range(3)]
    good = [driver.send(queue) for _ in range(3)]
    assert [driver.answer(token).reason for token in bad] == ["there is no exchange 'nowhere'"] * 3
    assert all(isinstance(driver.answer(token), Confirmed) for token in good)
    unheard = driver.send("no-such-topic", kind=Kind.TOPIC)
    assert isinstance(driver.answer(unheard), Confirmed)
    assert isinstance(driver.answer(driver.send(queue)), Confirmed)


def test_one_message_that_the_broker_does_not_take_is_found_among_others(driver, queue):
    before, after = [driver.send(queue) for _ in range(3)], []
    # RabbitMQ ends the channel for it (406) and does not say which one it was.
    bad = driver.send(queue, expiration=10.0**12)
    after = [driver.send(queue) for _ in range(3)]
    assert all(isinstance(driver.answer(token), Confirmed) for token in [*before, *after])
    assert driver.answer(bad).code == "invalid"
    assert isinstance(driver.answer(driver.send(queue)), Confirmed)


def test_headers_that_amqp_cannot_carry_are_refused(driver, queue):
    bad = [driver.send(queue, headers=one) for one in ({"a": 1e300}, {"a": 2**63}, {"k" * 300: 1})]
    good = driver.send(queue)
    assert [driver.answer(token).code for token in bad] == ["invalid"] * 3
    assert isinstance(driver.answer(good), Confirmed)


def test_a_full_queue_refuses(driver, rabbit, queue):
    with rabbit.channel() as channel:
        limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare(f"{queue}.full", auto_delete=True, arguments=limits)
    answers = [driver.answer(driver.send(f"{queue}.full")) for _ in range(3)]
    assert answers[-1].code == "full"


def test_a_unit_settles_after_everything_is_confirmed(driver, rabbit, queue):
    driver.answer(driver.send(queue))
    driver.subscribe(1, queue, credit=1)
    (delivery,) = driver.deliveries(1)
    out = [Publication(Kind.QUEUE, f"{queue}.out", {}, b"%d" % n) for n in range(3)]
    driver.broker.commit(90, out, [Settlement(delivery.tag, Outcome.ACCEPT)])
    assert driver.answer(90) == Confirmed(90)
    driver.until(lambda: ready(rabbit, f"{queue}.out") == 3)
    driver.broker.commit(91, [*out, Publication(Kind.QUEUE, "nowhere", {}, b"")], [])
    assert driver.answer(91).code == "unroutable"
    assert ready(rabbit, f"{queue}.out") == 3


def test_units_keep_their_order_while_one_asks_for_its_destination(driver, rabbit, queue):
    driver.answer(driver.send(queue))  # so that this one is known
    for token in (90, 91):
        names = [queue, f"{queue}.out"] if token == 90 else [queue]
        driver.broker.commit(token, [Publication(Kind.QUEUE, name, {}, b"%d" % token) for name in names], [])
    assert driver.answer(90) == Confirmed(90) and driver.answer(91) == Confirmed(91)
    driver.subscribe(1, queue, credit=3)
    assert [d.body for d in driver.deliveries(3)] == [b"x", b"90", b"91"]


def test_a_transaction_falls_with_a_message_that_was_sent_before_it(rabbit, queue, tmp_path, caplog):
    relay = RelayProcess(tmp_path, "rabbitmq", transports=[rabbit.settings()])
    transport = relay.transport("tester/0")

    def work(header, message):
        transport.send("nowhere", message)
        transaction = transport.transaction_begin(subscription_id=header["subscription"])
        transport.send(f"{queue}.out", message, transaction=transaction)
        transport.ack(header, transaction=transaction)
        transport.transaction_commit(transaction)

    try:
        transport.subscribe(queue, work, acknowledgement=True)
        transport.send(queue, "message")
        wait_until(lambda: ready(rabbit, f"dlq.{queue}") == 1, "the dead letter")
        transport.disconnect()
        assert "without an answer" not in caplog.text
        assert ready(rabbit, f"{queue}.out") == 0
    finally:
        relay.close()


# -- Delays


def test_delay_without_the_plugin(driver, rabbit, queue):
    driver.subscribe(1, queue, credit=10)
    driver.answer(driver.send(queue, b"late", delay=0.25, headers={"a": 1}))
    driver.answer(driver.send(queue, b"early"))
    early, late = driver.deliveries(2)
    assert (early.body, late.body) == (b"early", b"late")
    assert (late.headers, late.routing_key, late.exchange) == ({"a": 1}, queue, "")
    assert driver.answer(driver.send("nowhere", delay=5)).reason == "there is no queue 'nowhere'"
    with rabbit.channel() as channel:
        channel.queue_delete(f"delay.250.{queue}")
    driver.answer(driver.send(queue, b"again", delay=0.25))
    assert driver.deliveries(3)[2].body == b"again"


def test_delay_by_the_exchange_where_there_is_one(driver, rabbit, queue):
    with rabbit.channel() as channel:  # it stands for the plugin's: only that it is used can be seen
        channel.exchange_declare("delayed", "direct")
    try:
        driver.subscribe(1, queue, credit=10)
        assert isinstance(driver.answer(driver.send(queue, delay=30)), Confirmed)
        (delivery,) = driver.deliveries(1)
        assert (delivery.exchange, delivery.headers) == ("delayed", {"x-delay": 30000})
        assert driver.answer(driver.send("nowhere", delay=5)).code == "unroutable"
    finally:
        with rabbit.channel() as channel:
            channel.exchange_delete("delayed")


# -- Settling


def test_a_rejected_message_finds_its_dead_letter_queue_or_makes_it(driver, rabbit, queue):
    with rabbit.channel() as channel:
        channel.queue_delete(f"dlq.{queue}")
    driver.subscribe(1, queue, credit=2)
    for number in range(2):
        driver.answer(driver.send(queue, b"%d" % number, headers={"n": number}))
    for delivery in driver.deliveries(2):
        driver.settle(delivery, Outcome.REJECT, "it is bad")
    dlq = f"dlq.{queue}"
    driver.until(
        lambda: [q for q in driver.broker.queues() if q.name == dlq and q.ready == 2], "the dead letters"
    )
    first, second = driver.broker.dead_letters(dlq, 10)
    assert (first.origin, first.reason, first.body, first.headers["n"]) == (queue, "it is bad", b"0", 0)
    assert first.headers["x-death"][0]["count"] == 1 and first.time > 1.7e9
    assert driver.broker.dead_letters(dlq, 10, after=first.id) == [second]
    assert driver.broker.purge(dlq, [first.id]) == 1
    assert driver.broker.reinject(dlq, None, f"{queue}.out") == 1
    assert (ready(rabbit, dlq), ready(rabbit, f"{queue}.out")) == (0, 1)


@pytest.mark.parametrize("size", [4, 300 * 1024])  # pika reads the larger one
def test_a_dead_letter_keeps_the_properties_of_its_message(driver, rabbit, queue, size):
    sent = {
        "content_type": "application/json",
        "priority": 3,
        "correlation_id": "c",
        "timestamp": 7,
        "type": "t",
    }
    with rabbit.channel() as channel:
        properties = pika.BasicProperties(headers={"n": 1}, expiration="600000", delivery_mode=1, **sent)
        channel.basic_publish("", queue, b"x" * size, properties)
        driver.subscribe(1, queue, credit=1)
        (delivery,) = driver.deliveries(1)
        driver.settle(delivery, Outcome.REJECT, "it is bad")
        dlq = f"dlq.{queue}"
        driver.until(
            lambda: [q for q in driver.broker.queues() if q.name == dlq and q.ready], "the dead letter"
        )
        _, found, body = channel.basic_get(dlq, auto_ack=True)
    assert {name: getattr(found, name) for name in sent} == sent
    assert (found.headers["n"], len(body)) == (1, size)
    # It is not to be lost: it neither expires nor goes with the broker.
    assert (found.expiration, found.delivery_mode) == (None, 2)


def test_what_is_put_back_waits_longer_each_time(driver, queue):
    driver.answer(driver.send(queue))
    driver.subscribe(1, queue, credit=1, prefetch=1)
    times = []
    for turn in range(4):
        delivery = driver.deliveries(turn + 1)[turn]
        times.append(driver.broker._loop.clock())
        assert delivery.redelivered is (turn > 0)
        driver.settle(delivery, Outcome.REQUEUE)
        driver.broker.credit(1, 1)
    waits = [b - a for a, b in itertools.pairwise(times)]
    assert waits[0] >= 0.1 and waits[1] >= 0.2 and waits[2] >= 0.4


def test_what_waits_to_be_put_back_keeps_nothing_else_from_coming(driver, queue):
    for number in range(3):
        driver.answer(driver.send(queue, b"%d" % number))
    driver.subscribe(1, queue, credit=1, prefetch=1)
    driver.settle(driver.deliveries(1)[0], Outcome.REQUEUE)
    driver.broker.credit(1, 1)
    assert driver.deliveries(2)[1].body == b"1"


def test_a_delivery_that_is_out_can_be_looked_at(driver, queue):
    driver.answer(driver.send(queue, b"body", headers={"a": 1}))
    driver.subscribe(1, queue, credit=1)
    (delivery,) = driver.deliveries(1)
    found = driver.broker.peek(delivery.tag)
    assert found is not None and (found.headers, found.body) == ({"a": 1}, b"body")
    driver.settle(delivery)
    assert driver.broker.peek(delivery.tag) is None


def test_an_explicit_prefetch_is_kept_at_the_broker(driver, rabbit, queue):
    for _ in range(20):
        driver.send(queue)
    driver.answer(driver.send(queue))
    driver.subscribe(1, queue, credit=3, prefetch=3)
    driver.deliveries(3)
    assert ready(rabbit, queue) == 18


def test_a_busy_service_leaves_messages_to_others(driver, rabbit, queue):
    for _ in range(40):
        driver.send(queue)
    driver.answer(driver.send(queue))
    driver.subscribe(1, queue, credit=16)
    for delivery in driver.deliveries(16)[:15]:
        driver.settle(delivery)
    # One is left, with no credit beyond it: whatever came in advance goes back.
    driver.until(lambda: ready(rabbit, queue) == 25, "the others back in the queue")
    driver.broker.credit(1, 1)
    assert driver.deliveries(17)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_what_only_waited_in_a_buffer_is_not_marked_when_it_comes_again(driver, rabbit, queue, kind):
    name = f"{queue}.{kind}"
    with rabbit.channel() as channel:
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind})
    try:
        for number in range(8):
            driver.answer(driver.send(name, b"%d" % number))
        driver.subscribe(1, name, credit=8)
        first, *rest = driver.deliveries(8)
        driver.broker.credit(1, -8)
        for delivery in rest:
            driver.settle(delivery, Outcome.RELEASE)
        driver.until(lambda: ready(rabbit, name) == 7, "seven in the queue again")
        driver.settle(first, Outcome.FORFEIT)
        driver.until(lambda: ready(rabbit, name) == 8, "eight in the queue again")
        driver.broker.credit(1, 8)
        again = {d.body: d.redelivered for d in driver.deliveries(16)[8:]}
        assert again == {b"%d" % number: number == 0 for number in range(8)}
    finally:
        with rabbit.channel() as channel:
            channel.queue_delete(name)


def test_what_a_busy_consumer_gives_back_goes_to_an_idle_one_without_the_broker(driver, rabbit, queue):
    driver.subscribe(1, queue, credit=3)
    driver.subscribe(2, queue, credit=3)
    for number in range(6):
        driver.answer(driver.send(queue, b"%d" % number))
    given = driver.deliveries(6)
    mine = [one for one in given if one.consumer == 1]
    for delivery in given:
        if delivery.consumer == 2:
            driver.settle(delivery)
    driver.broker.credit(2, 3)
    driver.turn()
    rabbit.signal(signal.SIGSTOP)
    try:
        for delivery in mine:
            driver.settle(delivery, Outcome.RELEASE)
        again = driver.deliveries(9)[6:]
    finally:
        rabbit.signal(signal.SIGCONT)
    assert [(d.consumer, d.body, d.redelivered) for d in again] == [(2, d.body, False) for d in mine]
    driver.broker.cancel(1)  # its channel stays until they are settled
    for delivery in again:
        driver.settle(delivery)
    driver.until(lambda: [q for q in driver.broker.queues() if q.name == queue and not q.unsettled])
    assert ready(rabbit, queue) == 0


def test_what_others_may_have_begun_meanwhile_keeps_its_mark(driver, rabbit, queue):
    driver.answer(driver.send(queue))
    driver.subscribe(1, queue, credit=1)
    (delivery,) = driver.deliveries(1)
    with rabbit.channel() as channel:
        got = []
        channel.basic_consume(queue, lambda _channel, method, *_: got.append(method))
        driver.broker.credit(1, -1)
        driver.settle(delivery, Outcome.RELEASE)
        driver.turn()
        wait_until(lambda: channel.connection.process_data_events(0) or got, "the other one's turn")
        driver.until(lambda: not driver.broker._clerk._waiting, "the answer who takes from the queue")
    driver.broker.credit(1, 1)
    assert driver.deliveries(2)[1].redelivered


@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
def test_kinds_of_queues(driver, rabbit, queue, kind):
    name = f"{queue}.{kind}"
    with rabbit.channel() as channel:
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind})
    try:
        driver.subscribe(1, name, credit=2)
        for number in range(30):
            driver.send(name, b"%d" % number)
        for number in range(30):
            delivery = driver.deliveries(number + 1)[number]
            assert delivery.body == b"%d" % number
            driver.settle(delivery)
            driver.broker.credit(1, 1 + (number < 5))
    finally:
        with rabbit.channel() as channel:
            channel.queue_delete(name)


def test_a_message_of_a_stream_can_be_rejected_and_put_back(driver, rabbit, queue):
    name = f"{queue}.log"
    with rabbit.channel() as channel:
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "stream"})
    try:
        driver.subscribe(1, name, credit=1, prefetch=1)
        driver.send(name, b"first")
        driver.settle(driver.deliveries(1)[0], Outcome.REQUEUE)
        driver.broker.credit(1, 1)
        again = driver.deliveries(2)[1]
        assert again.body == b"first"
        driver.settle(again, Outcome.REJECT, "bad")
        driver.broker.credit(1, 1)
        driver.answer(driver.send(name, b"second"))
        assert driver.deliveries(3)[2].body == b"second"
        dlq = f"dlq.{name}"
        (letter,) = driver.until(lambda: driver.broker.dead_letters(dlq, 5), "the dead letter")
        assert (letter.body, letter.origin, letter.reason) == (b"first", name, "bad")
    finally:
        with rabbit.channel() as channel:
            channel.queue_delete(name)
            channel.queue_delete(f"dlq.{name}")


# -- Subscriptions


def test_a_missing_queue_or_exchange_fails_at_once_and_alone(driver, queue):
    driver.subscribe(1, queue, credit=5)
    failed = driver.subscribe(2, "nowhere")
    assert failed.reason == "there is no queue 'nowhere' on the broker; declare it, or check the name"
    failed = driver.subscribe(3, "nowhere", kind=Kind.TOPIC)
    assert failed.reason.startswith("there is no exchange 'nowhere' on the broker; declare it as fanout")
    driver.send(queue)
    assert driver.deliveries(1)


def test_broadcasts_need_no_credit_and_credit_does_not_harm_them(driver, queue):
    driver.subscribe(1, queue, credit=1 << 30, kind=Kind.TOPIC)
    for number in range(3):
        assert isinstance(driver.answer(driver.send(queue, b"%d" % number, kind=Kind.TOPIC)), Confirmed)
    assert [d.body for d in driver.deliveries(3)] == [b"0", b"1", b"2"]


def test_a_subscription_comes_back_with_its_queue(driver, rabbit, queue):
    driver.subscribe(1, f"{queue}.1", credit=5)
    driver.subscribe(2, f"{queue}.2", credit=5)
    with rabbit.channel() as channel:
        channel.queue_delete(f"{queue}.1")
        driver.answer(driver.send(f"{queue}.2"))
        assert driver.deliveries(1)[0].consumer == 2
        channel.queue_declare(f"{queue}.1")
    driver.answer(driver.send(f"{queue}.1"))
    assert driver.deliveries(2)[1].consumer == 1
    assert not driver.of(SubscriptionFailed)


def test_what_is_released_by_a_cancelled_consumer_goes_to_others(driver, queue):
    driver.subscribe(1, queue, credit=5, prefetch=5)
    for number in range(5):
        driver.answer(driver.send(queue, b"%d" % number))
    first = driver.deliveries(5)
    driver.broker.cancel(1)
    driver.settle(first[0])
    for delivery in first[1:]:
        driver.settle(delivery, Outcome.RELEASE)
    driver.subscribe(2, queue, credit=9)
    assert sorted(d.body for d in driver.deliveries(9)[5:]) == [b"1", b"2", b"3", b"4"]


# -- Alarms and outages


def test_death_and_return_of_the_broker(driver, rabbit, queue):
    name = f"{queue}.durable"
    with rabbit.channel() as channel:
        channel.queue_declare(name, durable=True)
    temporary = driver.subscribe(2, "reply", credit=5, kind=Kind.TEMPORARY).name
    driver.subscribe(1, name, credit=10)
    for number in range(4):
        driver.answer(driver.send(name, b"%d" % number))
    before = driver.deliveries(4)
    rabbit.signal(signal.SIGSTOP)
    pending = [driver.send(name, b"pending %d" % number) for number in range(3)]
    driver.turn()
    rabbit.kill()
    driver.until(lambda: driver.broker.status().connections == 0, "the loss")
    assert driver.broker.status().state == "connecting" and driver.broker.status().detail
    # What is settled now belongs to a connection that is gone, and so does a unit.
    driver.settle(before[0])
    driver.broker.commit(
        95, [Publication(Kind.QUEUE, name, {}, b"")], [Settlement(before[1].tag, Outcome.ACCEPT)]
    )
    assert driver.answer(95).code == "failed"
    pending.append(driver.send(name, b"while away"))
    rabbit.start()
    assert all(isinstance(driver.answer(token), Confirmed) for token in pending)
    driver.broker.credit(1, 10)
    driver.until(
        lambda: {d.body for d in driver.of(Delivered)[4:]} >= {b"0", b"1", b"2", b"3", b"while away"}
    )
    # A temporary queue comes back by the same name, but somewhat later than the connection.
    driver.until(lambda: isinstance(driver.answer(driver.send(temporary)), Confirmed), "the temporary queue")
    driver.until(lambda: [d for d in driver.of(Delivered) if d.consumer == 2], "the reply")
    assert not driver.of(SettlementFailed) and not driver.of(SubscriptionFailed)


def test_a_broker_that_is_away_at_the_start(rabbit, queue):
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    driver = Driver(rabbit.settings(hosts=[dead, rabbit.address]))
    token = driver.send(queue)
    assert isinstance(driver.answer(token), Confirmed)
    assert driver.broker.status().host == rabbit.address
    driver.broker.close()
