"""What operators see of RabbitMQ, with and without its management API, and do about dead letters."""

from __future__ import annotations

import json
import signal
import time

import pika
import pytest

from tests.brokers.rabbit import RabbitServer
from tests.brokers.rabbitdriver import Driver, ready
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.brokers.inspector import QueueInfo
from zocalo_daemon.client import letterfile
from zocalo_daemon.errors import Unavailable
from zocalo_daemon.protocol import framing


@pytest.fixture
def informed(rabbit: RabbitServer):
    """A driver that has used nothing, with the management API."""
    url = f"http://127.0.0.1:{rabbit.management_port}/api/"
    driver = Driver(rabbit.settings(management={"url": url, "username": None, "password_file": None}))
    driver.connected()
    yield driver
    driver.broker.close()


def rows(driver: Driver) -> dict[str, QueueInfo]:
    return {one.name: one for one in driver.broker.inspector().queues()}


def test_all_queues_are_known_to_the_management_api(informed, rabbit, queue):
    with rabbit.channel() as channel:
        channel.basic_publish("", queue, b"x")
        channel.basic_publish("", f"dlq.{queue}", b"dead")
        found = wait_until(lambda: rows(informed), "queues")
    assert {queue, f"{queue}.in", f"dlq.{queue}"} <= set(found)
    assert found[f"dlq.{queue}"].dead_letters and not found[queue].dead_letters
    assert found[f"dlq.{queue}"].ready == 1  # counted by AMQP: the API is seconds late


def test_without_the_api_the_queues_of_this_daemon_are_shown(driver, rabbit, queue):
    assert rows(driver) == {}
    driver.subscribe(1, queue, credit=1, prefetch=1)
    driver.answer(driver.send(f"{queue}.out"))
    driver.answer(driver.send(queue))
    driver.deliveries(1)
    found = rows(driver)
    assert set(found) == {queue, f"{queue}.out", f"dlq.{queue}"}
    assert (found[queue].unsettled, found[queue].consumers, found[f"{queue}.out"].ready) == (1, 1, 1)


def test_what_is_delayed_counts_for_the_queue_that_it_goes_to(informed, rabbit, queue):
    informed.answer(informed.send(queue, delay=30.0))
    name = f"delay.30000.{queue}"
    try:
        found = wait_until(lambda: (all_ := rows(informed)).get(queue) and all_[queue].delayed and all_,
                           "what is delayed", timeout=15.0)  # fmt: skip
        assert found[queue].delayed == 1 and name not in found
    finally:
        with rabbit.channel() as channel:
            channel.queue_delete(name)


@pytest.mark.parametrize("way", ["default exchange", "exchange of its own"])
def test_dead_letters_of_the_broker_come_back_with_all_that_they_carry(informed, rabbit, queue, way):
    source, letters = f"{queue}.plain", f"{queue}.morgue"
    exchange = "" if way == "default exchange" else f"{queue}.dead"
    arguments = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": letters}
    properties = pika.BasicProperties(headers={"n": 7, "f": "x"}, priority=3, message_id="m-1", type="t")
    with rabbit.channel() as channel:
        channel.queue_declare(letters)
        if exchange:
            channel.exchange_declare(exchange, "direct")
            channel.queue_bind(letters, exchange, letters)
        channel.queue_declare(source, arguments=arguments)
        channel.basic_publish("", source, b"body", properties)
        method, _, _ = channel.basic_get(source)
        channel.basic_nack(method.delivery_tag, requeue=False)
        try:
            found = wait_until(lambda: (one := rows(informed).get(letters)) and one.ready and one, "a letter")
            assert found.dead_letters
            inspector = informed.broker.inspector()
            (letter,) = inspector.dead_letters(letters, 10)
            assert (letter.origin, letter.reason, letter.body) == (source, "rejected", b"body")
            assert letter.headers["n"] == 7 and letter.time > 1.7e9
            assert inspector.dead_letters(letters, 10) == [letter]  # looking changes nothing, not even its id
            assert inspector.reinject(letters, [letter.id + 1], None) == 0
            assert inspector.reinject(letters, [letter.id], None) == 1
            assert ready(rabbit, letters) == 0
            _, after, body = channel.basic_get(source, auto_ack=True)
            assert (body, after.priority, after.message_id, after.type) == (b"body", 3, "m-1", "t")
            assert (after.headers["n"], after.headers["f"], after.headers["dlq-reinjected"]) == (7, "x", True)
            assert after.headers["x-death"][0]["queue"] == source
        finally:
            channel.queue_delete(source)
            channel.queue_delete(letters)
            if exchange:
                channel.exchange_delete(exchange)


def test_a_letter_that_cannot_be_sent_back_stays(driver, rabbit, queue):
    with rabbit.channel() as channel:
        channel.basic_publish("", f"dlq.{queue}", b"a", pika.BasicProperties(
            headers={"x-death": [{"queue": "gone", "reason": "expired", "count": 1}]}))  # fmt: skip
    inspector = driver.broker.inspector()
    assert inspector.reinject(f"dlq.{queue}", None, None) == 0
    assert inspector.dead_letters(f"dlq.{queue}", 1)[0].reason == "expired"
    assert inspector.reinject(f"dlq.{queue}", None, queue) == 1
    assert (ready(rabbit, queue), ready(rabbit, f"dlq.{queue}")) == (1, 0)
    assert inspector.purge("no.such.queue", None) == 0 and inspector.dead_letters("no.such.queue", 1) == []


def test_an_api_that_refuses_is_one_line_and_the_known_queues(rabbit, queue, caplog):
    url = f"http://127.0.0.1:{rabbit.management_port}"
    settings = {"url": url, "username": "nobody", "password": "sesame"}
    driver = Driver(rabbit.settings(management=settings))
    driver.answer(driver.send(queue))
    assert queue in rows(driver)
    driver.turn()
    (line,) = [one.getMessage() for one in caplog.records if "management" in one.getMessage()]
    assert line.startswith(f"test: the management API at {url} says 401 Unauthorized; check user 'nobody'")
    assert "sesame" not in caplog.text
    driver.broker.close()


def test_without_a_broker_the_question_is_answered_with_an_error(rabbit):
    driver = Driver(rabbit.settings(hosts=["127.0.0.1:1"]))
    with pytest.raises(Unavailable, match="the broker does not answer"):
        driver.broker.queues()
    driver.broker.close()


def test_a_question_to_a_broker_that_hangs_keeps_no_message_waiting(tmp_path, rabbit, queue):
    transports = [rabbit.settings(), {"name": "quick", "driver": "memory"}]
    relay = RelayProcess(tmp_path, "rabbitmq", transports=transports)
    try:
        assert "ok" in relay.request("queues", transport="default")
        rabbit.signal(signal.SIGSTOP)
        try:
            relay.link.sendall(framing.encode({"id": 999, "op": "queues", "args": {"transport": "default"}}))
            began = time.monotonic()
            assert relay.request("queues", transport="quick") == {"id": 2, "ok": []}
            assert time.monotonic() - began < 1.0
        finally:
            rabbit.signal(signal.SIGCONT)
        relay.read_until(lambda: 999 in relay.answers)
        assert "ok" in relay.answers[999]
    finally:
        relay.close()


def test_the_marks_of_quorum_queues_do_not_travel_on(driver, rabbit, queue):
    name = f"dlq.{queue}.q"
    with rabbit.channel() as channel:
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", name, b"x", pika.BasicProperties(headers={"n": 1}))
        inspector = driver.broker.inspector()
        first = wait_until(lambda: inspector.dead_letters(name, 1), "the letter")
        again = wait_until(lambda: inspector.dead_letters(name, 1), "the letter")
        assert first[0].id == again[0].id
        wait_until(lambda: inspector.reinject(name, None, queue), "the way back")
        driver.subscribe(1, queue, credit=1)
        assert driver.deliveries(1)[0].headers == {"n": 1, "dlq-reinjected": True}
        channel.queue_delete(name)


def test_of_letters_that_are_the_same_as_many_are_deleted_as_were_named(driver, rabbit, queue):
    name = f"dlq.{queue}"
    with rabbit.channel() as channel:
        for _ in range(3):
            channel.basic_publish("", name, b"same")
    inspector = driver.broker.inspector()
    letters = wait_until(lambda: [one.id for one in inspector.dead_letters(name, 9)], "the letters")
    assert len(letters) == 3 and len(set(letters)) == 1
    assert inspector.purge(name, letters[:2]) == 2
    assert inspector.reinject(name, letters[:1], f"{queue}.1") == 1


def test_a_letter_that_an_exchange_had_brought_goes_back_to_its_queue_alone(driver, rabbit, queue):
    """Defect 18: the peers' reinject drops it."""
    mine, exchange = f"{queue}.dying", f"{queue}.fanout"
    rules = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"dlq.{queue}"}
    with rabbit.channel() as channel:
        channel.exchange_declare(exchange, "fanout")
        channel.queue_declare(mine, arguments=rules)
        for one in (mine, f"{queue}.1"):
            channel.queue_bind(one, exchange)
        channel.basic_publish(exchange, "", b'{"n": 1}', pika.BasicProperties(headers={"k": "v"}))
        method = wait_until(lambda: channel.basic_get(mine)[0], "the message")
        channel.basic_nack(method.delivery_tag, requeue=False)
        inspector = driver.broker.inspector()
        letter = wait_until(lambda: inspector.dead_letters(f"dlq.{queue}", 1), "the letter")[0]
        assert letter.headers["x-death"][0]["exchange"] == exchange
        fields = {one: getattr(letter, one) for one in ("id", "queue", "origin", "topic", "headers", "body")}
        back = letterfile.read(json.dumps(letterfile.document(fields, 0.0)))
        assert (back["kind"], back["destination"], back["headers"]["k"]) == ("queue", mine, "v")
        driver.answer(driver.send(back["destination"], back["body"], headers=back["headers"]))
        assert ready(rabbit, mine) == 1
        assert ready(rabbit, f"{queue}.1") == 1  # the first one still; by the exchange there were two
        channel.queue_delete(mine)
        channel.exchange_delete(exchange)
