"""RabbitMQ away, hanging, behind a broken network, or short of memory and disk."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator

import pytest

from tests.brokers.proxy import Proxy
from tests.brokers.rabbit import RabbitServer
from tests.brokers.rabbitdriver import Driver
from zocalo_daemon.brokers import rabbitmq
from zocalo_daemon.brokers.base import Confirmed


@pytest.fixture
def proxy(rabbit: RabbitServer) -> Iterator[Proxy]:
    proxy = Proxy(("127.0.0.1", rabbit.port))
    yield proxy
    proxy.passing = True
    proxy.close()


@pytest.mark.parametrize("way", ["the network drops everything", "the broker is stopped"])
def test_a_half_open_connection_is_found_within_two_heartbeats(rabbit, proxy, queue, caplog, way):
    caplog.set_level(logging.INFO)
    driver = Driver(rabbit.settings(hosts=[proxy.address], heartbeat=1.0))
    driver.subscribe(1, queue, credit=5, prefetch=5)
    driver.answer(driver.send(queue, b"first"))
    (held,) = driver.deliveries(1)
    try:
        if way == "the broker is stopped":
            rabbit.signal(signal.SIGSTOP)
        else:
            proxy.passing = False
        began = time.monotonic()
        pending = [driver.send(queue, b"pending %d" % number) for number in range(20)]
        driver.until(lambda: driver.broker.status().connections == 0, "the loss", 10.0)
        assert time.monotonic() - began < 3.5
        status = driver.broker.status()
        assert (status.state, status.host) == ("connecting", proxy.address)
        assert status.detail == "the broker was silent for 2 s"
        driver.settle(held)  # of the former connection: it must not reach another delivery
        pending.append(driver.send(queue, b"while away"))
    finally:
        rabbit.signal(signal.SIGCONT)
        proxy.passing = True
    assert all(isinstance(driver.answer(token), Confirmed) for token in pending)
    bodies = {b"pending %d" % number for number in range(20)} | {b"first", b"while away"}

    def take() -> bool:
        for one in driver.of(type(held))[1:]:
            driver.settle(one)
        driver.broker.credit(1, 5)
        return {one.body for one in driver.of(type(held))[1:]} >= bodies

    driver.until(take, "everything, the first one again", 15.0)
    driver.until(lambda: "were dropped" in caplog.text, "the line about the late settlement")
    assert "settlements came after the connection of their deliveries was lost" in caplog.text
    assert "1 deliveries were out and will come again" in caplog.text
    driver.broker.close()


def test_a_host_that_takes_connections_and_never_answers_is_left_for_the_next(rabbit, proxy, monkeypatch):
    monkeypatch.setattr(rabbitmq, "HANDSHAKE", 0.5)
    proxy.passing = False
    driver = Driver(rabbit.settings(hosts=[proxy.address, rabbit.address]))
    driver.connected()
    assert driver.broker.status().host == rabbit.address
    driver.broker.close()


def test_a_callback_longer_than_the_heartbeat_costs_no_connection(rabbit, queue):
    driver = Driver(rabbit.settings(heartbeat=1.0))
    driver.subscribe(1, queue, credit=1, prefetch=1)
    driver.answer(driver.send(queue))
    (held,) = driver.deliveries(1)
    lines = [peer._line for peer in (driver.broker._incoming, driver.broker._outgoing)]
    until = time.monotonic() + 3.5
    driver.until(lambda: time.monotonic() > until, "more than three heartbeats")
    assert [peer._line for peer in (driver.broker._incoming, driver.broker._outgoing)] == lines
    driver.settle(held)
    driver.answer(driver.send(queue))
    driver.broker.credit(1, 1)
    assert not driver.deliveries(2)[1].redelivered
    driver.broker.close()


ALARMS = [
    ("memory", ["set_vm_memory_high_watermark", "0"], ["set_vm_memory_high_watermark", "0.4"]),
    ("disk", ["set_disk_free_limit", "1000000GB"], ["set_disk_free_limit", "50MB"]),
]


@pytest.mark.parametrize(("resource", "raise_it", "end_it"), ALARMS, ids=[one[0] for one in ALARMS])
def test_an_alarm_of_the_broker_is_back_pressure(driver, rabbit, queue, caplog, resource, raise_it, end_it):
    caplog.set_level(logging.INFO)
    driver.subscribe(1, queue, credit=10)
    driver.answer(driver.send(queue))
    rabbit.control(*raise_it)
    try:
        tokens = [driver.send(queue) for _ in range(3)]
        driver.until(lambda: driver.broker.status().state == "blocked", "the alarm")
        status = driver.broker.status()
        assert status.detail == f"the broker takes no messages for now: low on {resource}"
        assert (status.host, status.connections, status.next_attempt) == (rabbit.address, 2, None)
        tokens += [driver.send(queue) for _ in range(3)]
        driver.settle(driver.deliveries(1)[0])  # settlements go on
        driver.until(lambda: not driver.broker.queues()[0].unsettled, "the settlement")
        assert not [e for e in driver.of(Confirmed) if e.token in tokens[3:]]
    finally:
        rabbit.control(*end_it)
    assert all(isinstance(driver.answer(token), Confirmed) for token in tokens)
    assert driver.broker.status().state == "connected"
    lines = [one.getMessage() for one in caplog.records if rabbit.address in one.getMessage()]
    assert lines == [
        f"test: {rabbit.address} takes no messages for now: low on {resource}",
        f"test: {rabbit.address} takes messages again",
    ]


def test_a_driver_can_be_closed_and_another_opened_in_its_place(rabbit, queue):
    driver = Driver(rabbit.settings())
    driver.subscribe(1, queue, credit=5)
    driver.answer(driver.send(queue, b"kept"))
    driver.deliveries(1)
    driver.send(queue, b"on its way")
    driver.broker.close()
    assert driver.broker._publisher.unconfirmed == 0  # `close` waits for what was sent
    after = Driver(rabbit.settings())
    after.subscribe(1, queue, credit=5)
    assert {one.body for one in after.deliveries(2)} == {b"kept", b"on its way"}
    after.broker.close()


def test_a_driver_that_never_got_a_connection_closes_at_once(rabbit):
    driver = Driver(rabbit.settings(hosts=["127.0.0.1:1"]))
    driver.turn()
    began = time.monotonic()
    driver.broker.close()
    assert time.monotonic() - began < 1.0
