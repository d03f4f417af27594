"""The embedded broker, driven by hand against its database."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.brokers.driving import START, Driver
from zocalo_daemon.brokers import database, store
from zocalo_daemon.brokers.base import (
    Confirmed,
    Kind,
    Outcome,
    Publication,
    Refused,
    Settlement,
    SettlementFailed,
    Source,
    SubscriptionFailed,
)
from zocalo_daemon.errors import UsageError, ZocaloError


@pytest.fixture
def d(tmp_path: Path):
    driver = Driver(tmp_path / "q")
    yield driver
    driver.broker.close()


def again(d: Driver, seconds: float = 0.0) -> Driver:
    """Close the broker and open it with other clocks, `seconds` later."""
    d.broker.close()
    new = Driver(d.broker._directory, now=5.0, wall=d.wall + (d.now - 1000.0) + seconds)
    d.broker = new.broker  # for the fixture
    return new


# -- Order and settlement


def test_messages_arrive_in_order_and_leave_when_accepted(d):
    for n in range(300):
        d.send("a", b"%d" % n)
    d.subscribe(1, "a", credit=1000)
    deliveries = d.deliveries()
    assert [x.body for x in deliveries] == [b"%d" % n for n in range(300)]
    assert not any(x.redelivered for x in deliveries)
    for delivery in deliveries:
        d.settle(delivery)
    d.poll()
    assert d.info("a") == (0, 0, 0)
    assert again(d).info("a") == (0, 0, 0)


def test_no_delivery_without_credit(d):
    d.subscribe(1, "a", credit=2)
    for n in range(5):
        d.send("a", b"%d" % n)
    assert d.bodies() == [b"0", b"1"]
    d.broker.credit(1, 2)
    d.broker.credit(1, -1)
    assert d.bodies() == [b"2"]
    d.broker.credit(1, -7)
    d.broker.credit(1, 1)
    assert d.bodies() == [b"3"]


def test_headers_and_bodies_come_back_as_they_were(d):
    headers = {"workflows-recipe": "True", "n": 1, "x": [1, {"y": None}], "f": 1.5, "b": b"\0"}
    d.stored("a", b"\x00\xff", headers=headers)
    d.stored("a", b"", headers={})
    d.subscribe(1, "a", credit=2)
    first, second = d.deliveries()
    assert (first.headers, first.body, first.routing_key, first.exchange) == (headers, b"\x00\xff", "a", "")
    assert (second.headers, second.body) == ({}, b"")


def test_higher_priority_first_then_in_order(d):
    for n, priority in enumerate([4, 9, 0, 4, 9, 0]):
        d.send("a", b"%d" % n, priority=priority)
    d.subscribe(1, "a", credit=10)
    assert d.bodies() == [b"1", b"4", b"0", b"3", b"2", b"5"]


def test_release_goes_back_to_its_place_uncounted(d):
    for n in range(4):
        d.send("a", b"%d" % n)
    d.subscribe(1, "a", credit=3)
    first, second, _third = d.deliveries()
    d.now += 1
    d.poll()  # the disk now knows that they are out
    d.settle(second, Outcome.RELEASE)
    d.settle(first, Outcome.RELEASE)
    d.broker.credit(1, 4)
    deliveries = d.deliveries()
    assert [(x.body, x.redelivered) for x in deliveries] == [(b"0", False), (b"1", False), (b"3", False)]
    assert "x-delivery-count" not in deliveries[0].headers


def test_forfeit_comes_at_once_and_is_marked(d):
    d.stored("a", b"0")
    d.stored("a", b"1")
    d.subscribe(1, "a", credit=1)
    for count in (1, 2):
        d.settle(d.one(), Outcome.FORFEIT)
        d.broker.credit(1, 1)
        delivery = d.one()
        assert (delivery.body, delivery.redelivered) == (b"0", True)
        assert delivery.headers["x-delivery-count"] == count
        d.settle(delivery, Outcome.RELEASE)
        d.broker.credit(1, 1)


def test_requeue_at_once_then_later_each_time(d):
    d.stored("a")
    d.subscribe(1, "a", credit=100)
    delivery = d.one()
    d.settle(delivery, Outcome.REQUEUE)
    delivery = d.one()
    assert delivery.redelivered
    for wait in (0.05, 0.1, 0.2, 0.4):
        d.settle(delivery, Outcome.REQUEUE)
        assert d.bodies() == []
        assert d.info("a") == (0, 1, 0)
        assert wait - 0.01 < d.broker.timeout() <= wait + 0.01
        d.now += wait - 0.01
        assert d.bodies() == []
        d.now += 0.02
        delivery = d.one()
    for _ in range(12):
        d.settle(delivery, Outcome.REQUEUE)
        d.poll()
        d.now += 30.01
        delivery = d.one()


def test_a_settlement_of_something_that_is_not_out_changes_nothing(d):
    d.stored("a")
    d.subscribe(1, "a", credit=1)
    delivery = d.one()
    d.broker.settle(Settlement(delivery.tag + 1, Outcome.ACCEPT))
    d.settle(delivery, Outcome.RELEASE)
    d.settle(delivery, Outcome.ACCEPT)
    assert d.poll() == []
    assert d.info("a") == (1, 0, 0)


def test_what_a_cancelled_consumer_has_out_stays_out(d):
    d.stored("a")
    d.subscribe(1, "a", credit=5)
    delivery = d.one()
    d.broker.cancel(1)
    d.subscribe(2, "a", credit=5)
    assert d.bodies() == []
    assert d.info("a") == (0, 0, 1)
    d.settle(delivery, Outcome.FORFEIT)
    assert d.one().consumer == 2


# -- Units and repetition


def test_a_unit_is_all_or_nothing(d):
    d.stored("a", b"in")
    d.subscribe(1, "a", credit=1)
    delivery = d.one()
    out = Publication(Kind.QUEUE, "b", {}, b"out")
    lost = Publication(Kind.QUEUE, "transient.x.9e107d9d-0000-4000-8000-0123456789ab", {}, b"")
    d.broker.commit(7, [out, lost], [Settlement(delivery.tag, Outcome.ACCEPT)])
    (event,) = d.poll()
    assert (event.token, event.code) == (7, "unroutable")
    assert d.info("a") == (0, 0, 1)
    d.broker.commit(8, [out], [Settlement(delivery.tag, Outcome.ACCEPT)])
    assert d.poll() == [Confirmed(8)]
    assert (d.info("a"), d.info("b")) == ((0, 0, 0), (1, 0, 0))
    d.broker.commit(9, [out], [Settlement(delivery.tag, Outcome.ACCEPT)])
    assert [e.code for e in d.refusals()] == ["failed"]
    assert d.info("b") == (1, 0, 0)


def test_no_settlement_outlives_a_refused_publication_before_it(d):
    d.stored("a")
    d.stored("a")
    d.subscribe(1, "a", credit=2)
    before, after = d.deliveries()
    d.settle(before)
    token = d.send("b", exchange="nowhere")
    d.settle(after)
    refused, failed = d.poll()
    assert (type(refused), refused.token, refused.code) == (Refused, token, "unroutable")
    assert (type(failed), failed.tag) == (SettlementFailed, after.tag)
    d.settle(after)
    assert d.poll() == []
    assert d.info("a") == (0, 0, 0)


def test_a_repeated_publication_is_confirmed_and_dropped(d):
    d.stored("a", origin=("script", 5))
    d.stored("a", origin=("script", 5))
    d.stored("a", origin=("script", 4))
    d.stored("a", origin=("other", 4))
    assert d.info("a")[0] == 2
    d = again(d)
    unit = [Publication(Kind.QUEUE, "a", {}, b"", origin=("script", s)) for s in (5, 6)]
    d.broker.commit(1, unit[:1], [])
    assert d.poll() == [Confirmed(1)]
    assert d.info("a")[0] == 2
    d.broker.commit(2, unit[1:] * 2, [])
    assert d.poll() == [Confirmed(2)]
    assert d.info("a")[0] == 4


@pytest.mark.parametrize(
    "options",
    [
        {"delay": float("nan")},
        {"expiration": float("inf")},
        {"headers": {"x": object()}},
        {"name": ""},
        {"name": "\ud800"},
        {"name": "n" * 256},
        {"origin": ("client", 2**63)},
    ],
)
def test_an_impossible_publication_is_refused(d, options):
    d.send(**{"name": "a", **options})
    assert [e.code for e in d.refusals()] == ["invalid"]


# -- Time


def test_delays_are_kept_over_a_restart_and_have_fractions(d):
    d.subscribe(1, "a", credit=1)
    d.send("a", b"later", delay=10.25)
    d.send("a", b"now")
    assert d.bodies() == [b"now"]
    assert d.info("a") == (0, 1, 1)
    d.now += 4
    d = again(d, seconds=2)
    d.subscribe(1, "a", credit=2)
    d.settle(d.one())
    assert d.poll() == []
    assert 4.2 < d.broker.timeout() < 4.3
    d.now += 4.2
    assert d.bodies() == []
    d.now += 0.1
    assert d.bodies() == [b"later"]


def test_a_jump_of_the_wall_clock_changes_nothing(d):
    d.send("a", delay=1.5)
    d.subscribe(1, "a", credit=1)
    d.wall += 1e6
    assert d.bodies() == []
    d.wall -= 3e6
    d.now += 1.6
    assert d.bodies() == [b"x"]


def test_expired_messages_vanish(d, caplog):
    caplog.set_level("INFO")
    d.send("a", b"short", expiration=0.5)
    d.send("a", b"long", expiration=5)
    d.send("a", b"short and delayed", expiration=0.4, delay=3)
    d.poll()
    assert d.info("a") == (2, 1, 0)
    d.now += 0.6
    d.poll()
    assert d.info("a") == (1, 0, 0)
    assert "2 messages of a expired" in caplog.text
    d = again(d, seconds=10)
    d.poll()
    assert d.info("a") == (0, 0, 0)


def test_what_expires_while_it_is_out_vanishes_when_it_comes_back(d):
    for _ in range(700):
        d.send("a", expiration=1)
    d.subscribe(1, "a", credit=700)
    deliveries = d.deliveries()
    d.now += 2
    d.poll()
    d.poll()
    assert d.info("a") == (0, 0, 700)
    assert d.broker.timeout() is None
    assert d.broker._store.counts() == [(1, 5, 0, 700)]
    for delivery in deliveries:
        d.settle(delivery, Outcome.RELEASE)
    d.poll()
    assert d.info("a") == (0, 0, 0)


def test_a_delivery_that_was_out_for_long_is_known_after_a_crash(d):
    d.stored("a", b"long")
    d.subscribe(1, "a", credit=2)
    d.one()
    assert d.broker.timeout() < 0.06
    d.now += 0.06
    d.poll()
    d.stored("a", b"short")
    d.broker._store.close()  # no farewell
    d = Driver(d.broker._directory)
    d.subscribe(1, "a", credit=2)
    assert [(x.body, x.redelivered) for x in d.deliveries()] == [(b"long", True), (b"short", False)]
    again(d)


def test_a_clean_stop_takes_back_what_is_out_uncounted(d):
    d.stored("a")
    d.subscribe(1, "a", credit=1)
    d.one()
    d.now += 0.06
    d.poll()
    d = again(d)
    d.subscribe(1, "a", credit=1)
    assert not d.one().redelivered


# -- Consumers


def test_equal_consumers_take_turns(d):
    for number in (1, 2, 3):
        d.subscribe(number, "a", credit=10)
    for _ in range(6):
        d.send("a")
    assert [x.consumer for x in d.deliveries()] == [1, 2, 3, 1, 2, 3]


def test_a_lower_priority_gets_what_the_higher_has_no_credit_for(d):
    d.subscribe(1, "a", credit=10)
    d.subscribe(2, "a", credit=2, priority=5)
    for _ in range(3):
        d.send("a")
    assert [x.consumer for x in d.deliveries()] == [2, 2, 1]


def test_the_first_exclusive_consumer_gets_everything(d):
    d.subscribe(1, "a", credit=10)
    d.subscribe(2, "a", credit=10, exclusive=True)
    d.subscribe(3, "a", credit=10, exclusive=True)
    d.send("a")
    d.send("a")
    assert [x.consumer for x in d.deliveries()] == [2, 2]
    d.broker.cancel(2)
    d.send("a")
    assert [x.consumer for x in d.deliveries()] == [3]
    d.broker.cancel(3)
    d.send("a")
    assert [x.consumer for x in d.deliveries()] == [1]


def test_a_selector_is_refused(d):
    d.broker.subscribe(1, Source(Kind.QUEUE, "a", selector="x = 1"))
    (event,) = d.poll()
    assert isinstance(event, SubscriptionFailed)
    assert "selector" in event.reason


# -- Temporary queues and topics


def test_a_temporary_queue_ends_with_its_consumer(d):
    name = d.subscribe(1, "hint", credit=1, kind=Kind.TEMPORARY)
    assert name.startswith("transient.hint.")
    assert d.subscribe(2, "", kind=Kind.TEMPORARY) != d.subscribe(3, "", kind=Kind.TEMPORARY)
    d.stored(name, b"1")
    d.stored(name, b"2")
    out = next(e for e in d.events if getattr(e, "body", b"") == b"1")
    d.broker.cancel(1)
    d.poll()
    d.settle(out, Outcome.REJECT)
    d.send(name)
    assert [e.code for e in d.refusals()] == ["unroutable"]
    assert name not in [q.name for q in d.broker.queues()]
    d.poll()
    assert again(d).broker._store.last_id() == 0


def test_temporary_queues_are_gone_after_a_restart(d):
    name = d.subscribe(1, "transient.hint", kind=Kind.TEMPORARY)
    assert name.startswith("transient.hint.")
    d.stored(name, delay=5)
    d.stored(name)
    d.stored("transient.destination")
    d = again(d)
    assert [q.name for q in d.broker.queues()] == ["transient.destination"]
    assert d.broker._store.counts() == [(2, 5, 0, 1)]


def test_a_topic_reaches_everyone_who_listens(d):
    d.subscribe(1, "news", credit=5, kind=Kind.TOPIC)
    d.stored("news", b"old", kind=Kind.TOPIC, expiration=3)
    d.now += 1
    d.stored("news", b"new", kind=Kind.TOPIC)
    d.subscribe(2, "news", credit=5, kind=Kind.TOPIC)
    d.subscribe(3, "news", credit=5, kind=Kind.TOPIC, retroactive=True)
    d.now += 2.5
    assert [(x.consumer, x.body) for x in d.deliveries()] == [(3, b"new")]
    d.send("news", b"latest", kind=Kind.TOPIC)
    assert sorted(x.consumer for x in d.deliveries()) == [1, 2, 3]
    assert [e.body for e in d.events if getattr(e, "consumer", 0) == 1 and hasattr(e, "body")] == [
        b"old",
        b"new",
        b"latest",
    ]


def test_a_slow_listener_loses_the_oldest(d, caplog):
    d.subscribe(1, "news", kind=Kind.TOPIC)
    for n in range(800):
        d.send("news", b"%d" % n, kind=Kind.TOPIC)
    d.broker.credit(1, 1000)
    assert d.bodies() == [b"%d" % n for n in range(300, 800)]
    assert "missed 300" in caplog.text


def test_a_delayed_broadcast_comes_later(d):
    d.subscribe(1, "news", credit=1, kind=Kind.TOPIC)
    d.stored("news", kind=Kind.TOPIC, delay=0.5)
    assert 0.4 < d.broker.timeout() < 0.6
    d.now += 0.6
    assert d.bodies() == [b"x"]


# -- Dead letters


def reject(d: Driver, queue: str = "a", body: bytes = b"x", reason: str = "no such file") -> None:
    d.stored(queue, body, headers={"k": "v"}, priority=7, expiration=100)
    d.subscribe(99, queue, credit=1)
    d.settle(d.one(), Outcome.REJECT, reason)
    d.broker.cancel(99)
    d.poll()


def test_a_rejected_message_is_a_dead_letter(d):
    reject(d)
    d = again(d)
    (letter,) = d.broker.dead_letters("dlq.a", 10)
    assert (letter.origin, letter.reason, letter.time, letter.body) == ("a", "no such file", START, b"x")
    (death,) = letter.headers["x-death"]
    assert death == {
        "count": 1,
        "exchange": "",
        "queue": "a",
        "reason": "rejected",
        "routing-keys": ["a"],
        "time": int(START),
    }
    assert letter.headers["k"] == "v"
    d.now += 1000
    d.poll()
    assert d.info("dlq.a") == (1, 0, 0)  # it expires no more
    assert [q.dead_letters for q in d.broker.queues()] == [False, True]


def test_dead_letters_are_listed_in_pages(d):
    for n in range(5):
        reject(d, body=b"%d" % n)
    first = d.broker.dead_letters("dlq.a", 3)
    rest = d.broker.dead_letters("dlq.a", 3, first[-1].id)
    assert [x.body for x in first + rest] == [b"0", b"1", b"2", b"3", b"4"]
    assert d.broker.dead_letters("dlq.none", 3) == []


def test_purge_and_reinject_leave_alone_what_is_out(d):
    for n in range(4):
        reject(d, body=b"%d" % n)
    ids = [x.id for x in d.broker.dead_letters("dlq.a", 10)]
    d.subscribe(1, "dlq.a", credit=1)
    delivery = d.one()
    assert d.broker.purge("dlq.a", ids[:2]) == 1
    assert d.broker.reinject("dlq.a", [ids[0], ids[2]], None) == 1
    assert d.broker.purge("dlq.a", None) == 1
    assert d.info("dlq.a") == (0, 0, 1)
    d.settle(delivery, Outcome.REJECT, "again")
    assert [x.body for x in d.deliveries()] == []
    assert d.info("dlq.a") == (1, 0, 0)
    assert d.broker.purge("dlq.a", None) == 1
    with pytest.raises(UsageError, match="dead-letter"):
        d.broker.purge("a", None)


def test_reinjected_messages_go_back_with_their_headers(d):
    reject(d, body=b"0")
    reject(d, body=b"1")
    assert d.broker.reinject("dlq.a", None, None) == 2
    assert (d.info("a"), d.info("dlq.a")) == ((2, 0, 0), (0, 0, 0))
    d = again(d)
    d.subscribe(1, "a", credit=1)
    delivery = d.one()
    assert not delivery.redelivered
    assert delivery.headers["k"] == "v"
    assert delivery.headers["dlq-reinjected"] is True
    d.settle(delivery, Outcome.REJECT, "twice")
    d.poll()
    (letter,) = d.broker.dead_letters("dlq.a", 10)
    assert letter.headers["x-death"][0]["count"] == 2
    assert d.broker.reinject("dlq.a", [letter.id], "dlq.a") == 1
    assert d.broker.reinject("dlq.a", None, "elsewhere") == 1
    assert d.info("elsewhere") == (1, 0, 0)


# -- The disk


def test_a_busy_broker_recovers_from_a_failure(d):
    @contextlib.contextmanager
    def broken():
        raise sqlite3.OperationalError("broken by the test")
        yield

    d.stored("a")
    d.broker._store.transaction = broken
    for _ in range(10):
        d.send("a")
        d.now += 0.3
        (refused,) = d.refusals()
        assert refused.code == "failed"
    assert d.broker.status().state == "failed"
    del d.broker._store.transaction
    for _ in range(4):
        d.now += 0.3
        d.stored("a")
    assert d.broker.status().state == "connected"


def test_files_are_private(d):
    d.stored("a")
    directory = d.broker._directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in directory.iterdir()} == {0o600}


def test_only_one_process_may_open_a_directory(d):
    with pytest.raises(ZocaloError, match="in use by another process"):
        Driver(d.broker._directory)


def test_a_damaged_database_is_explained(tmp_path):
    (tmp_path / database.DATABASE).write_bytes(b"no database at all " * 1000)
    with pytest.raises(ZocaloError, match=r"queues\.db is damaged .* move it away"):
        Driver(tmp_path)


def test_a_database_that_is_damaged_inside_is_explained(d):
    for _ in range(2000):
        d.send("a")
    d.poll()
    d.broker.close()
    path = d.broker._directory / database.DATABASE
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"damage" * 5000)
    with pytest.raises(ZocaloError, match=r"queues\.db is damaged .* move it away"):
        Driver(d.broker._directory)


def test_a_newer_database_is_left_alone(d):
    d.stored("a")
    d.broker.close()
    with sqlite3.connect(d.broker._directory / database.DATABASE) as sql:
        sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(ZocaloError, match="newer version"):
        Driver(d.broker._directory)


def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(ZocaloError, match="needs SQLite"):
        Driver(tmp_path)


@pytest.mark.parametrize(
    ("query", "arguments", "index"),
    [
        (store.FETCH, (1, 5, 0, 10), "SEARCH messages USING INDEX ready (queue=? AND rank=? AND id>?)"),
        (store.DUE, (0.0, 10), "SEARCH messages USING INDEX delayed (due>? AND due<?)"),
        (store.EXPIRED, (0.0, 0, 1.0, 10), "USING INDEX expiring ("),
    ],
)
def test_fetching_reads_only_what_it_returns(d, query, arguments, index):
    plan = d.broker._store.plan(query, arguments)
    assert index in plan
    assert "TEMP B-TREE" not in plan
