"""What only ActiveMQ does: namespaces, selectors, slots, transactions, dead letters, permissions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.brokers.activemq import ActiveServer, require_server
from tests.brokers.plainclient import PlainClient
from tests.brokers.stompdriver import StompDriver
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
    SubscriptionFailed,
)

GUARDED = """
<simpleAuthenticationPlugin><users>
  <authenticationUser username="zocalo" password="secret" groups="zocalo"/>
</users></simpleAuthenticationPlugin>
<authorizationPlugin><map><authorizationMap><authorizationEntries>
  <authorizationEntry queue="open.&gt;" read="zocalo" write="zocalo" admin="zocalo"/>
  <authorizationEntry topic="&gt;" read="zocalo" write="zocalo" admin="zocalo"/>
  <authorizationEntry queue="closed.&gt;" read="other" write="other" admin="other"/>
</authorizationEntries></authorizationMap></map></authorizationPlugin>
"""


@pytest.fixture
def driver(active: ActiveServer) -> Iterator[StompDriver]:
    driver = StompDriver(active.settings())
    driver.connected()
    yield driver
    driver.broker.close()


@pytest.fixture
def second(active: ActiveServer) -> Iterator[StompDriver]:
    """The relay of another daemon."""
    driver = StompDriver(active.settings())
    driver.connected()
    yield driver
    driver.broker.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name


# -- Names and headers


def test_a_prefix_is_the_namespace_of_queues_and_topics(active, driver, name):
    spaced = StompDriver(active.settings(prefix="zocdev"))
    spaced.connected()
    try:
        spaced.answer(spaced.send(name))
        assert driver.subscribe(1, f"zocdev.{name}", credit=1).name == f"zocdev.{name}"
        (delivery,) = driver.deliveries(1)
        assert delivery.routing_key == f"zocdev.{name}"
        driver.settle(delivery, Outcome.REJECT, "bad")
        driver.until(lambda: driver.info(f"dlq.zocdev.{name}")[0] == 1, "the dead letter")
        (letter,) = spaced.broker.dead_letters(f"dlq.{name}", 10)
        assert letter.origin == name
        assert spaced.broker.reinject(f"dlq.{name}", None, None) == 1
        assert driver.deliveries(1)
        spaced.subscribe(1, name, kind=Kind.TOPIC)
        driver.answer(driver.send(f"zocdev.{name}", kind=Kind.TOPIC))
        assert spaced.deliveries(1)[0].exchange == name
    finally:
        spaced.broker.close()


def test_ignore_namespace_is_the_name_as_it_is_for_messages_dead_letters_and_topics(active, driver, name):
    spaced = StompDriver(active.settings(prefix="zocdev"))
    spaced.connected()
    try:
        spaced.answer(spaced.send(name, ignore_namespace=True))
        spaced.subscribe(1, name, credit=1, ignore_namespace=True)
        (delivery,) = spaced.deliveries(1)
        spaced.settle(delivery, Outcome.REJECT, "bad")
        driver.until(lambda: spaced.turn() or driver.info(f"dlq.{name}")[0] == 1, "the dead letter")
        assert not [one for one in spaced.broker.queues() if one.name == name]
        assert driver.broker.reinject(f"dlq.{name}", None, None) == 1
        assert spaced.deliveries(1)
        spaced.subscribe(2, name, kind=Kind.TOPIC, ignore_namespace=True)
        driver.answer(driver.send(name, b"news", kind=Kind.TOPIC))
        spaced.until(lambda: spaced.of(Delivered)[-1].body == b"news", "the broadcast")
    finally:
        spaced.broker.close()


def test_headers_that_need_escaping_arrive_as_they_were_sent(driver, name):
    headers = {"a:b\\c": "x:y\\z\nnew", "url": "http://h:1", "ü": "ä"}
    driver.answer(driver.send(name, b"\0\n\0", headers=headers))
    driver.subscribe(1, name, credit=1)
    (delivery,) = driver.deliveries(1)
    assert {key: delivery.headers[key] for key in headers} == headers
    assert delivery.body == b"\0\n\0"
    found = driver.broker.peek(delivery.tag)
    assert found is not None and found.headers == headers


def test_headers_that_the_broker_could_not_read_harm_only_their_message(driver, name):
    bad = [driver.send(name, headers=one) for one in ({"a": "x" * 20_000}, {"expires": "soon"}, {"": "x"})]
    good = driver.send(name)
    assert [driver.answer(token).code for token in bad] == ["invalid"] * 3
    assert driver.answer(good) == Confirmed(good)


def test_what_the_broker_makes_no_sense_of_is_refused_and_the_rest_of_its_batch_arrives_once(driver, name):
    first = [driver.send(name, b"%d" % number) for number in range(20)]
    bad = driver.send(name, b"bad", headers={"amq-msg-type": "none"})
    rest = [driver.send(name, b"%d" % number) for number in range(20, 40)]
    assert driver.answer(bad).code == "invalid"
    assert all(driver.answer(token) == Confirmed(token) for token in first + rest)
    driver.subscribe(1, name, credit=100)
    driver.answer(driver.send(name, b"last"))
    driver.until(lambda: driver.of(Delivered)[-1:] and driver.of(Delivered)[-1].body == b"last")
    assert [one.body for one in driver.of(Delivered)] == [b"%d" % number for number in range(40)] + [b"last"]


def test_plain_clients_and_ours_share_queues(active, name, tmp_path):
    relay = RelayProcess(tmp_path, "activemq", transports=[active.settings(prefix="zoc")])
    settings = {"--stomp-host": "127.0.0.1", "--stomp-port": active.port, "--stomp-prfx": "zoc"}
    client = PlainClient("StompTransport", settings)
    transport = relay.transport("tester/0")
    got: list[tuple[dict[str, Any], Any]] = []
    try:
        headers = {"workflows-recipe": "True", "own": "x:y"}
        transport.send(f"{name}.theirs", {"a": [1, "ü"]}, headers=headers, expiration=60)
        client.call("subscribe", f"{name}.theirs")
        (theirs,) = client.wait(1)
        assert theirs["message"] == {"a": [1, "ü"]}
        assert headers.items() <= theirs["header"].items()
        assert theirs["header"]["destination"] == f"/queue/zoc.{name}.theirs"
        assert theirs["header"]["persistent"] == "true" and int(theirs["header"]["expires"]) > 10**12

        transport.subscribe(f"{name}.ours", lambda h, m: got.append((h, m)), acknowledgement=True)
        client.call("send", f"{name}.ours", {"b": 2}, headers=headers)
        wait_until(lambda: got, "their message")
        header, message = got[0]
        assert message == {"b": 2} and headers.items() <= header.items()
        assert set(theirs["header"]) - set(header) <= {"content-length", "ack"}
        transport.ack(header)
        client.call("subscribe_broadcast", name)

        def heard() -> bool:  # its subscription stands at some time after the call
            transport.broadcast(name, "all")
            return len(client.arrived) > 1

        wait_until(heard, "the broadcast", every=0.05)
        assert client.arrived[1]["message"] == "all"
    finally:
        client.close()
        transport.disconnect()
        relay.close()


# -- Sending


def test_a_unit_is_one_transaction_and_settles_after_it(driver, name):
    driver.answer(driver.send(name))
    driver.subscribe(1, name, credit=1)
    (delivery,) = driver.deliveries(1)
    out = [Publication(Kind.QUEUE, f"{name}.out", {}, b"%d" % n) for n in range(3)]
    driver.broker.commit(90, out, [Settlement(delivery.tag, Outcome.ACCEPT)])
    assert driver.answer(90) == Confirmed(90)
    driver.until(lambda: driver.info(name) == (0, 0) and driver.info(f"{name}.out") == (3, 0))
    bad = Publication(Kind.QUEUE, f"{name}.out", {"expires": "soon"}, b"")
    driver.broker.commit(91, [*out, bad], [])
    assert driver.answer(91).code == "invalid"
    assert driver.info(f"{name}.out") == (3, 0)
    driver.broker.commit(92, out, [Settlement(delivery.tag, Outcome.ACCEPT)])
    assert driver.answer(92).code == "failed"


def test_many_messages_keep_their_order(driver, name):
    for number in range(600):
        driver.send(name, b"%d" % number)
    driver.until(lambda: len(driver.of(Confirmed)) == 600, "all confirmations")
    driver.subscribe(1, name, credit=1000)
    assert [d.body for d in driver.deliveries(60)][:60] == [b"%d" % number for number in range(60)]


# -- Subscribing


def test_selectors(driver, name):
    driver.answer(driver.send(name, b"0", headers={"n": 0}))
    driver.answer(driver.send(name, b"1", headers={"n": 1}))
    driver.subscribe(1, name, credit=5, selector="n = '1'")
    assert [d.body for d in driver.deliveries(1)] == [b"1"]
    bad = driver.subscribe(2, name, selector="n = = 1")
    assert isinstance(bad, SubscriptionFailed) and f"'{name}'" in bad.reason
    driver.answer(driver.send(name, b"2", headers={"n": 1}))
    assert driver.deliveries(2)[1].body == b"2"


@pytest.mark.parametrize("prefetch", [0, 3])
def test_no_more_is_taken_than_there_is_credit_for(driver, second, name, prefetch):
    for number in range(10):
        driver.answer(driver.send(name, b"%d" % number))
    driver.subscribe(1, name, credit=3, prefetch=prefetch)
    driver.deliveries(3)
    second.subscribe(1, name, credit=10)
    assert len(second.deliveries(7)) == 7


def test_what_a_busy_consumer_cannot_use_goes_to_another_daemon_without_a_mark(driver, second, name):
    for number in range(40):
        driver.send(name, b"%d" % number)
    driver.subscribe(1, name, credit=16)
    given = driver.deliveries(16)
    driver.broker.credit(1, -16)
    for delivery in given[1:]:  # recalled from the worker, which is busy with the first one
        driver.settle(delivery, Outcome.RELEASE)
    second.subscribe(1, name, credit=50)

    def got() -> bool:
        driver.turn()
        return len(second.of(Delivered)) == 39

    second.until(got, "all but one")
    driver.settle(given[0])
    for delivery in second.of(Delivered):
        second.settle(delivery)
    second.until(lambda: driver.turn() or driver.info(name) == (0, 0), "an empty queue")


def test_what_comes_back_to_us_unseen_is_not_marked(driver, name):
    for number in range(4):
        driver.answer(driver.send(name, b"%d" % number))
    driver.subscribe(1, name, credit=4)
    first, *rest = driver.deliveries(4)
    driver.broker.credit(1, -4)
    for delivery in rest:
        driver.settle(delivery, Outcome.RELEASE)
    driver.settle(first, Outcome.FORFEIT)
    driver.until(lambda: driver.info(name) == (4, 0), "four in the queue again")
    driver.broker.credit(1, 4)
    again = {d.body: d.redelivered for d in driver.deliveries(8)[4:]}
    assert again == {b"0": True, b"1": False, b"2": False, b"3": False}


def test_what_is_put_back_waits_longer_each_time_and_keeps_nothing_from_coming(driver, name):
    driver.answer(driver.send(name, b"poor"))
    driver.subscribe(1, name, credit=1, prefetch=1)
    times = []
    for turn in range(3):
        delivery = driver.deliveries(turn + 1)[turn]
        times.append(driver.broker._loop.clock())
        assert delivery.redelivered is (turn > 0)
        driver.settle(delivery, Outcome.REQUEUE)
        driver.broker.credit(1, 1)
    waits = [b - a for a, b in itertools.pairwise(times)]
    assert waits[0] >= 0.1 and waits[1] >= 0.2
    driver.answer(driver.send(name, b"next"))
    assert driver.deliveries(4)[3].body == b"next"


def test_an_ended_consumer_gives_back_what_nobody_has(driver, second, name):
    for number in range(6):
        driver.answer(driver.send(name, b"%d" % number))
    driver.subscribe(1, name, credit=3)
    held = driver.deliveries(3)
    driver.broker.cancel(1)
    driver.turn()
    second.subscribe(1, name, credit=10)
    assert len(second.deliveries(3)) == 3
    for delivery in held:
        driver.settle(delivery)
    driver.until(lambda: driver.info(name)[1] == 3, "what the other daemon has")
    assert list(driver.broker._consumers) == []


# -- Permissions


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveServer]:
    """A broker that asks for a password, and has queues that are closed."""
    require_server()
    server = ActiveServer(tmp_path_factory.mktemp("guarded"), GUARDED)
    yield server
    server.close()


def test_a_wrong_password_is_one_clear_line(guarded, tmp_path, caplog):
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    settings = guarded.settings(username="zocalo", password=None, password_file=str(secret))
    driver = StompDriver(settings)
    line = "the broker refuses user 'zocalo' or its password"
    driver.until(lambda: driver.broker.status().detail == line, line)
    assert driver.broker.status().state == "connecting"
    secret.write_text("secret\n")  # read anew for every attempt
    driver.connected()
    driver.broker.close()
    assert sum(line in record.getMessage() for record in caplog.records) <= 2  # one for each connection


def test_what_is_not_allowed_is_refused_and_nothing_else(guarded):
    driver = StompDriver(guarded.settings(username="zocalo", password="secret"))
    driver.connected()
    try:
        tokens = [driver.send(name) for name in ("open.a", "closed.a", "open.a", "open.a")]
        answers = [driver.answer(token) for token in tokens]
        assert [type(one) for one in answers] == [Confirmed, Refused, Confirmed, Confirmed]
        assert answers[1].code == "invalid" and "'/queue/closed.a'" in answers[1].reason
        refused = driver.subscribe(1, "closed.a")
        assert isinstance(refused, SubscriptionFailed) and "'closed.a'" in refused.reason
        driver.subscribe(2, "open.a", credit=3)
        (delivery, *_) = driver.deliveries(3)
        unit = [Publication(Kind.QUEUE, one, {}, b"") for one in ("open.out", "closed.a")]
        driver.broker.commit(90, unit, [Settlement(delivery.tag, Outcome.ACCEPT)])
        assert "'/queue/closed.a'" in driver.answer(90).reason
        assert driver.broker.peek(delivery.tag) is not None
        driver.subscribe(3, "open.out", credit=1)
        driver.answer(driver.send("open.out", b"later"))
        assert driver.deliveries(4)[3].body == b"later"  # nothing of the unit is there
        assert driver.broker.status().connections == 2
    finally:
        driver.broker.close()
