"""RabbitMQ's STOMP plugin as a peer of the driver for ActiveMQ."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.brokers.rabbit import RabbitServer
from tests.brokers.rabbitdriver import ready
from tests.brokers.stompdriver import StompDriver
from zocalo_daemon.brokers.base import (
    Confirmed,
    Kind,
    Outcome,
    Publication,
    Settlement,
    SubscriptionFailed,
)
from zocalo_daemon.errors import Unavailable


@pytest.fixture
def driver(rabbit: RabbitServer) -> Iterator[StompDriver]:
    driver = StompDriver(rabbit.settings(driver="activemq", hosts=[f"127.0.0.1:{rabbit.stomp_port}"]))
    driver.connected()
    yield driver
    driver.broker.close()


@pytest.fixture
def name(rabbit: RabbitServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"stomp.{request.node.name}"
    yield name
    with rabbit.channel() as channel:
        for one in (name, f"{name}.out", f"dlq.{name}"):
            channel.queue_delete(one)


def test_sending_and_settling(driver, rabbit, name):
    tokens = [driver.send(name, b"%d" % number, headers={"a:b": "c\nd"}) for number in range(20)]
    assert all(isinstance(driver.answer(token), Confirmed) for token in tokens)
    driver.subscribe(1, name, credit=20)
    deliveries = driver.deliveries(20)
    assert sorted(int(d.body) for d in deliveries) == list(range(20))
    assert deliveries[0].headers["a:b"] == "c\nd" and not deliveries[0].redelivered
    for delivery in deliveries[:-1]:
        driver.settle(delivery)
    driver.settle(deliveries[-1], Outcome.FORFEIT)
    driver.broker.credit(1, 1)
    again = driver.deliveries(21)[20]
    assert again.redelivered
    driver.settle(again, Outcome.REJECT, "bad")
    driver.until(lambda: ready(rabbit, f"dlq.{name}") == 1, "the dead letter")
    driver.until(lambda: ready(rabbit, name) == 0)


def test_a_unit_settles_after_everything_is_confirmed(driver, rabbit, name):
    driver.answer(driver.send(name))
    driver.subscribe(1, name, credit=1)
    (delivery,) = driver.deliveries(1)
    out = [Publication(Kind.QUEUE, f"{name}.out", {}, b"%d" % n) for n in range(3)]
    driver.broker.commit(90, out, [Settlement(delivery.tag, Outcome.ACCEPT)])
    assert driver.answer(90) == Confirmed(90)
    assert ready(rabbit, f"{name}.out") == 3


def test_broadcasts(driver, name):
    driver.subscribe(1, name, kind=Kind.TOPIC)
    driver.answer(driver.send(name, b"all", kind=Kind.TOPIC))
    assert driver.deliveries(1)[0].body == b"all"


def test_what_it_cannot_do_is_said(driver, name):
    refused = driver.subscribe(1, name, selector="a = 1")
    assert isinstance(refused, SubscriptionFailed) and "selectors" in refused.reason
    with pytest.raises(Unavailable, match="driver rabbitmq"):
        driver.broker.queues()


def test_an_error_ends_its_connection_and_only_that_message(driver, rabbit, name):
    good = driver.send(name)
    bad = driver.send("a/b/c")  # no destination of RabbitMQ
    last = driver.send(name)
    assert driver.answer(good) == Confirmed(good)
    refused = driver.answer(bad)
    assert refused.code == "invalid" and "a/b/c" in refused.reason
    assert driver.answer(last) == Confirmed(last)
