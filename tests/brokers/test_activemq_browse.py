"""What operators see of ActiveMQ, with and without its statistics plugin, and do about dead letters."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.brokers.activemq import ActiveServer, require_server
from tests.brokers.plainclient import PlainClient
from tests.brokers.stompdriver import StompDriver
from tests.relaykit import RelayProcess
from zocalo_daemon.brokers import activemq_visit
from zocalo_daemon.brokers.base import Confirmed, Delivered, Outcome
from zocalo_daemon.brokers.inspector import QueueInfo
from zocalo_daemon.errors import Unavailable
from zocalo_daemon.protocol import framing
from zocalo_daemon.worker.transport import RelayTransport


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveServer]:
    """A broker without the plugin, and without what it would need to answer."""
    require_server()
    server = ActiveServer(tmp_path_factory.mktemp("poor"), libraries=())
    yield server
    server.close()


@pytest.fixture(params=["active", "poor"])
def broker(request: pytest.FixtureRequest) -> ActiveServer:
    """A broker with the plugin, and one without."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def driver(broker: ActiveServer) -> Iterator[StompDriver]:
    driver = StompDriver(broker.settings())
    driver.connected()
    yield driver
    driver.broker.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.originalname


def rows(driver: StompDriver) -> dict[str, QueueInfo]:
    return {one.name: one for one in driver.broker.inspector().queues()}


# -- Counts


def test_the_plugin_tells_of_every_queue_of_the_namespace(active, name):
    spaced = StompDriver(active.settings(prefix="zocmine"))
    other = StompDriver(active.settings())
    try:
        spaced.connected()
        other.connected()
        for number in range(450):  # more than a page of a browser
            other.send(f"zocmine.{name}", b"%d" % number)
        other.send(f"dlq.zocmine.{name}")
        other.send(f"zocyours.{name}")
        other.until(lambda: len(other.of(Confirmed)) == 452, "all confirmations")
        spaced.subscribe(1, f"{name}.idle", credit=20)
        other.subscribe(1, f"zocmine.{name}", credit=3, prefetch=3)
        other.deliveries(3)
        found = rows(spaced)
        assert (found[name].ready, found[name].unsettled) == (447, 3)
        assert found[name].consumers == 3  # those of others as the broker counts them
        assert found[f"{name}.idle"].consumers == 1  # twenty for the broker
        assert found[f"dlq.{name}"].dead_letters and found[f"dlq.{name}"].ready == 1
        assert not [one for one in found if "yours" in one or one.startswith("ActiveMQ.Stat")]
    finally:
        spaced.broker.close()
        other.broker.close()


def test_without_the_plugin_the_queues_of_this_daemon_are_shown_and_one_line_says_so(poor, name, caplog):
    driver = StompDriver(poor.settings())
    other = StompDriver(poor.settings())
    try:
        assert rows(driver) == {} and not caplog.records
        driver.subscribe(1, name, credit=1, prefetch=1)
        for number in range(3):
            driver.answer(driver.send(name, b"%d" % number))
        other.answer(other.send(f"{name}.unknown"))
        driver.deliveries(1)
        for _ in range(2):
            assert rows(driver) == {name: QueueInfo(name, 2, 0, 1, 1)}
            driver.turn()
        (line,) = [one.getMessage() for one in caplog.records if "statistics" in one.getMessage()]
        assert line.startswith(
            "test: the broker does not tell its statistics by STOMP: only queues that this"
        )
        assert "<statisticsBrokerPlugin/>" in line
    finally:
        driver.broker.close()
        other.broker.close()


def test_without_a_broker_operators_are_told():
    driver = StompDriver({"name": "t", "driver": "activemq", "hosts": ["127.0.0.1:1"]})
    with pytest.raises(Unavailable, match=r"^test: the broker does not answer \(connection refused"):
        driver.broker.queues()
    driver.broker.close()


def test_a_host_that_is_gone_keeps_nobody_from_asking_the_next(active, name):
    driver = StompDriver(active.settings(hosts=["127.0.0.1:1", active.address]))
    try:
        driver.answer(driver.send(name))
        driver.broker._incoming.host = "127.0.0.1:1"
        assert rows(driver)[name].ready == 1
    finally:
        driver.broker.close()


def test_a_broker_that_hangs_is_an_error_in_time(poor, monkeypatch):
    monkeypatch.setattr(activemq_visit, "PATIENCE", 0.3)
    driver = StompDriver(poor.settings())
    poor.signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match=r"does not answer \(it was silent for 0.3 s\)"):
            driver.broker.queues()
    finally:
        poor.signal(signal.SIGCONT)
        driver.broker.close()


def test_a_question_to_a_broker_that_hangs_keeps_no_message_waiting(tmp_path, poor, name):
    transports = [poor.settings(), {"name": "quick", "driver": "memory"}]
    relay = RelayProcess(tmp_path, "activemq", transports=transports)
    try:
        assert "ok" in relay.request("queues", transport="default")
        poor.signal(signal.SIGSTOP)
        try:
            for number, op in ((998, "queues"), (999, "dlq.purge")):
                relay.link.sendall(framing.encode({"id": number, "op": op, "args": {"transport": "default"}}))
            transport = RelayTransport.for_worker(relay.path, "tester/0", "quick")
            assert transport.connect()
            began = time.monotonic()
            assert relay.request("queues", transport="quick")["ok"] == []
            transport.send(name, 1)
            assert time.monotonic() - began < 1.0
            assert not relay.answers
            transport.disconnect()
        finally:
            poor.signal(signal.SIGCONT)
        relay.read_until(lambda: {998, 999} <= relay.answers.keys())
        assert "ok" in relay.answers[998]
    finally:
        relay.close()


# -- Dead letters


def test_dead_letters(driver, name):
    driver.subscribe(1, name, credit=5)
    for number in range(3):
        driver.answer(driver.send(name, b"%d" % number, headers={"n": number}))
    for delivery in driver.deliveries(3):
        driver.settle(delivery, Outcome.REJECT, "it is bad")
    dlq = f"dlq.{name}"
    driver.until(lambda: driver.info(dlq)[0] == 3, "the dead letters")
    assert [q.dead_letters for q in driver.broker.queues() if q.name == dlq] == [True]
    first, second, third = driver.broker.dead_letters(dlq, 10)
    assert (first.origin, first.reason, first.body, first.headers["n"]) == (name, "it is bad", b"0", "0")
    assert first.headers["x-death"][0]["count"] == 1 and first.time > 1.7e9
    assert driver.broker.dead_letters(dlq, 1, after=first.id) == [second]
    assert driver.broker.purge(dlq, [first.id]) == 1
    assert driver.broker.reinject(dlq, [second.id], f"{name}.other") == 1
    assert driver.info(f"{name}.other") == (1, 0)
    assert driver.broker.reinject(dlq, None, None) == 1
    again = driver.deliveries(4)[3]
    assert (again.body, again.headers["dlq-reinjected"]) == (third.body, "True")
    assert driver.info(dlq) == (0, 0)


def test_what_a_plain_client_rejects_is_seen_where_the_broker_puts_it(broker, driver, name):
    client = PlainClient("StompTransport", {"--stomp-host": "127.0.0.1", "--stomp-port": broker.port})
    try:
        driver.answer(driver.send(name, b"1"))
        client.call("subscribe", name, acknowledgement=True)
        (message,) = client.wait(1)
        header = message["header"]
        # STOMP 1.1, which StompTransport speaks, names a message by its id.
        client.call("nack", header["message-id"], subscription_id=int(header["subscription"]))
        driver.until(lambda: driver.info("ActiveMQ.DLQ")[0], "the broker's own dead letter")
    finally:
        client.close()
    letters = [one for one in driver.broker.dead_letters("ActiveMQ.DLQ", 100) if one.origin == name]
    assert len(letters) == 1
    driver.subscribe(1, name, credit=1)
    assert driver.broker.reinject("ActiveMQ.DLQ", [letters[0].id], None) == 1
    assert driver.deliveries(1)[0].body == b"1"


def test_dead_letters_over_a_page_of_the_browser_are_purged_too(driver, name):
    dlq = f"dlq.{name}"
    for _ in range(450):
        driver.send(dlq)
    driver.until(lambda: len(driver.of(Confirmed)) == 450, "all confirmations")
    assert driver.broker.purge(dlq, None) == 450
    assert driver.info(dlq) == (0, 0)


def test_letters_that_die_again_at_once_are_sent_back_once(driver, name):
    dlq = f"dlq.{name}"
    for number in range(20):
        driver.answer(driver.send(dlq, b"%d" % number))
    driver.subscribe(1, name, credit=100)
    found: list[int] = []
    errand = threading.Thread(
        target=lambda: found.append(driver.broker.inspector().reinject(dlq, None, None))
    )
    errand.start()

    def poison() -> bool:
        for delivery in driver.of(Delivered):
            driver.settle(delivery, Outcome.REJECT, "again")
            driver.broker.credit(1, 1)
        driver.events = [one for one in driver.events if not isinstance(one, Delivered)]
        return bool(found)

    driver.until(poison, "the end of it")
    errand.join()
    assert found == [20]
    driver.until(lambda: (poison(), driver.info(dlq))[1] == (20, 0), "the letters again")


def test_a_letter_that_does_not_say_where_it_came_from_stays(driver):
    driver.answer(driver.send("ActiveMQ.DLQ", b"orphan"))
    letters = driver.broker.dead_letters("ActiveMQ.DLQ", 100)
    (number,) = [one.id for one in letters if one.body == b"orphan"]
    assert driver.broker.reinject("ActiveMQ.DLQ", [number], None) == 0
    assert driver.broker.purge("ActiveMQ.DLQ", [number]) == 1
