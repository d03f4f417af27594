"""ActiveMQ dies, stops, comes back, cannot be reached, or is not what it should be."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.activemq import ActiveServer, require_server
from tests.brokers.proxy import Proxy
from tests.brokers.rabbit import make_certificates
from tests.brokers.stompdriver import StompDriver
from tests.ports import free_ports
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.brokers import activemq, stream
from zocalo_daemon.brokers.base import Confirmed, Delivered, Kind, Outcome, Publication, Settlement


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveServer]:
    """A broker that these tests may kill."""
    require_server()
    server = ActiveServer(tmp_path_factory.mktemp("mortal"))
    yield server
    server.close()


@pytest.fixture
def driver(mortal: ActiveServer) -> Iterator[StompDriver]:
    driver = StompDriver(mortal.settings())
    driver.connected()
    yield driver
    driver.broker.close()
    if not mortal.running:
        mortal.start()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name


def test_nothing_is_lost_when_the_broker_is_killed(mortal, driver, name):
    driver.subscribe(1, name, credit=20)
    driver.answer(driver.send(name, b"held"))
    (held,) = driver.deliveries(1)
    for number in range(200):
        driver.send(name, b"%d" % number)
    mortal.kill()
    for number in range(200, 210):
        driver.send(name, b"%d" % number)
    driver.until(lambda: driver.broker.status().connections == 0, "the end")
    status = driver.broker.status()
    assert status.state == "connecting" and status.detail
    driver.settle(held)  # of a connection that is gone: it comes again
    driver.broker.commit(900, [], [Settlement(held.tag, Outcome.ACCEPT)])
    assert driver.answer(900).code == "failed"
    mortal.start(wait=False)
    driver.until(lambda: len(driver.of(Confirmed)) == 211, "all confirmations", 60)
    wanted = {b"held"} | {b"%d" % number for number in range(210)}
    done: set[bytes] = set()

    def work() -> bool:
        for delivery in driver.of(Delivered):
            done.add(delivery.body)
            driver.settle(delivery)
            driver.broker.credit(1, 1)
        driver.events = [one for one in driver.events if not isinstance(one, Delivered)]
        return done == wanted

    driver.until(work, "every message")
    driver.until(lambda: driver.info(name) == (0, 0), "an empty queue")


def test_a_broker_that_stops_for_a_while_is_only_slow(mortal, driver, name):
    driver.subscribe(1, name, credit=5)
    mortal.signal(signal.SIGSTOP)
    try:
        token = driver.send(name, b"x")
        driver.broker.commit(90, [Publication(Kind.QUEUE, name, {}, b"y")] * 2, [])
        driver.turn()
    finally:
        mortal.signal(signal.SIGCONT)
    assert driver.answer(token) == Confirmed(token) and driver.answer(90) == Confirmed(90)
    assert [d.body for d in driver.deliveries(3)] == [b"x", b"y", b"y"]


def test_a_half_open_connection_is_found_by_heart_beats(mortal, monkeypatch, name):
    monkeypatch.setattr(activemq, "HEARTBEAT", 0.3)
    proxy = Proxy(("127.0.0.1", mortal.port))
    driver = StompDriver(mortal.settings(hosts=[proxy.address]))
    try:
        driver.connected()
        proxy.passing = False
        driver.until(lambda: "heart-beat" in driver.broker.status().detail, "the silence to be noticed")
        proxy.passing = True
        driver.connected()
        assert driver.answer(driver.send(name)).token
    finally:
        proxy.close()
        driver.broker.close()


def test_heart_beats_go_on_while_a_callback_takes_long(mortal, monkeypatch, name):
    monkeypatch.setattr(activemq, "HEARTBEAT", 0.3)
    driver = StompDriver(mortal.settings())
    try:
        driver.connected()
        driver.subscribe(1, name, credit=1)
        driver.answer(driver.send(name))
        (delivery,) = driver.deliveries(1)
        end = driver.broker._loop.clock() + 1.5  # the broker misses us after two
        driver.until(lambda: driver.broker._loop.clock() > end)
        driver.settle(delivery)
        driver.until(lambda: driver.info(name) == (0, 0), "the settlement")
        assert len(driver.of(Delivered)) == 1
    finally:
        driver.broker.close()


def test_a_host_that_cannot_be_reached_or_found_is_left_for_the_next(mortal, name):
    closed = f"127.0.0.1:{free_ports(1)[0]}"
    driver = StompDriver(mortal.settings(hosts=[closed, "no-such-host.invalid:61613", mortal.address]))
    driver.connected()
    assert driver.broker.status().host == mortal.address
    driver.broker.close()
    for hosts, line in [([closed], "refused"), (["no-such-host.invalid:1"], "unknown host no-such-host")]:
        lost = StompDriver(mortal.settings(hosts=hosts))
        lost.until(lambda lost=lost, line=line: line in lost.broker.status().detail.lower(), line)
        lost.broker.close()


def test_a_port_without_tls_is_said(mortal, monkeypatch):
    monkeypatch.setattr(stream, "CONNECT_TIMEOUT", 0.5)
    driver = StompDriver(mortal.settings(tls={}))
    driver.until(lambda: "TLS" in driver.broker.status().detail, "that it speaks no TLS")
    driver.broker.close()


def test_tls(tmp_path):
    make_certificates(tmp_path)
    command = ["openssl", "pkcs12", "-export", "-in", "server.pem", "-inkey", "server.key"]
    subprocess.run([*command, "-out", "keys.p12", "-passout", "pass:secret"], cwd=tmp_path, check=True)
    keys = (tmp_path / "keys.p12").as_uri()
    server = ActiveServer(
        tmp_path,
        tls=f'<sslContext keyStore="{keys}" keyStoreType="pkcs12" keyStorePassword="secret"/>',
    )
    where = {"hosts": [f"localhost:{server.port}"]}
    try:
        driver = StompDriver(server.settings(**where, tls={"ca": str(tmp_path / "ca.pem")}))
        driver.connected()
        large = bytes(3_000_000)
        driver.subscribe(1, "q", credit=1)
        driver.answer(driver.send("q", large))
        assert driver.deliveries(1)[0].body == large
        driver.broker.close()
        stranger = StompDriver(server.settings(**where, tls={}))
        stranger.until(lambda: "not to be trusted" in stranger.broker.status().detail, "the refusal")
        stranger.broker.close()
        plain = StompDriver(server.settings(**where))
        plain.until(lambda: "does it want TLS?" in plain.broker.status().detail, "a reason")
        assert plain.broker.status().connections == 0
        plain.broker.close()
    finally:
        server.close()


def test_tls_to_a_port_without_is_one_clear_line(mortal, monkeypatch, caplog):
    monkeypatch.setattr(stream, "CONNECT_TIMEOUT", 0.5)
    driver = StompDriver(mortal.settings(tls={}))
    line = "TLS: no answer within 0.5 s: does this port speak TLS?"
    driver.until(lambda: driver.broker.status().detail == line, line)
    driver.until(lambda: driver.broker._incoming._hosts._tried > 2, "another attempt")
    driver.broker.close()
    assert [one.getMessage() for one in caplog.records] == [f"test: {mortal.address}: {line}"]


def test_services_see_nothing_of_an_outage_but_latency(mortal, tmp_path: Path, name):
    relay = RelayProcess(tmp_path, "activemq", transports=[mortal.settings()])
    transport = relay.transport("worker/0")
    out = relay.transport("reader/0")
    got: list[object] = []
    lock = threading.Lock()

    def work(header: dict, message: object) -> None:
        transaction = transport.transaction_begin(subscription_id=header["subscription"])
        transport.send(f"{name}.out", message, transaction=transaction)
        transport.ack(header, transaction=transaction)
        transport.transaction_commit(transaction)

    def take(header: dict, message: object) -> None:
        with lock:
            got.append(message)

    try:
        transport.subscribe(name, work, acknowledgement=True)
        out.subscribe(f"{name}.out", take)
        for number in range(100):
            out.send(name, number)
            if number == 50:
                mortal.kill()
                mortal.start(wait=False)
        wait_until(lambda: set(got) == set(range(100)), "all messages", timeout=60.0)
        assert transport.is_connected() and out.is_connected()
    finally:
        transport.disconnect()
        out.disconnect()
        relay.close()
        if not mortal.running:
            mortal.start()
