"""What a spool keeps, how it is written down, and what time does to it."""

from __future__ import annotations

import pytest

from zocalo_daemon.brokers.base import Kind, Publication
from zocalo_daemon.brokers.inspector import DeadLetter
from zocalo_daemon.relay import spooling
from zocalo_daemon.relay.spooling import Entry, Outage


def made(destination: str = "jobs", **more) -> Publication:
    return Publication(more.pop("kind", Kind.QUEUE), destination, more.pop("headers", {}), b"body", **more)


@pytest.mark.parametrize(
    ("publication", "kept"),
    [
        (made(), True),
        (made(expiration=5.0), True),
        (made(exchange="x", destination="transient.key"), True),
        (made("transient.name.uuid"), False),
        (made("amq.gen-abc"), False),
        (made(kind=Kind.TOPIC), True),
        (made(kind=Kind.TOPIC, expiration=15.0), False),
    ],
)
def test_what_is_kept(publication, kept):
    assert spooling.is_kept(publication) is kept
    assert spooling.is_news(publication) is (publication.kind is Kind.TOPIC and not kept)


def test_an_entry_is_read_as_it_was_written():
    full = made(
        headers={"a": 1, "b": [None, 1.5, b"\x00", {"c": "ü"}]}, delay=1.5, expiration=2.5, exchange="x",
        priority=9, persistent=False, ignore_namespace=True, origin=("client", 7),
        properties={"type": "t", "timestamp": 5},
    )  # fmt: skip
    entry = Entry([full, made(kind=Kind.TOPIC)], True, 1234.5)
    assert spooling.unpack(spooling.pack(entry)) == entry


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x93\x01\x02\x03", b"\x93\x01\x02\x91\x91\x09", b"garbage"])
def test_what_is_no_entry_is_an_error(data):
    with pytest.raises(ValueError, match="no entry of a spool"):
        spooling.unpack(data)


def test_time_goes_on_while_an_entry_waits():
    entry = Entry([made(expiration=5.0), made(delay=7.0), made(delay=20.0, expiration=30.0)], False, 100.0)
    assert spooling.alive(entry, 104.0) == entry
    left = spooling.alive(entry, 110.0)
    assert left.publications == entry.publications[1:]
    assert [(one.delay, one.expiration) for one in spooling.current(left, 110.0)] == [
        (0.0, None),
        (10.0, 20.0),
    ]


def test_a_clock_that_went_back_makes_no_message_wait_for_longer():
    assert spooling.current(Entry([made(delay=7.0)], False, 100.0), 50.0)[0].delay == 7.0


def test_large_entries_travel_by_few():
    assert spooling.in_flight(0, 0) == 1
    assert spooling.in_flight(10_000, 10_000 * 100) == spooling.IN_FLIGHT
    assert spooling.in_flight(100, 100 * 100_000) == 10
    assert spooling.in_flight(3, 3 * 50_000_000) == 1


@pytest.mark.parametrize(
    ("publication", "queue", "where"),
    [
        (made(), "dlq.jobs", ("", "jobs")),
        (made("key", exchange="x"), "dlq.key", ("x", "key")),
        (made("", exchange="x"), "dlq.x", ("x", "")),
        (made("news", kind=Kind.TOPIC), "dlq.news", ("news", "")),
        (made("ü" * 127), "dlq." + "ü" * 123, ("", "ü" * 127)),
    ],
)
def test_a_dead_letter_knows_where_it_was_going(publication, queue, where):
    letter = spooling.letter(publication, "no such place", 50.0)
    assert (letter.destination, letter.body) == (queue, b"body")
    assert letter.headers["x-death-reason"] == "no such place"
    dead = DeadLetter(1, queue, "", "", 0.0, letter.headers, letter.body)
    back = spooling.revived(dead, None)
    assert (back.exchange, back.destination) == where
    assert back.headers["dlq-reinjected"] is True
    elsewhere = spooling.revived(dead, "other")
    assert (elsewhere.exchange, elsewhere.destination) == ("", "other")


def test_since_when_a_broker_is_away():
    outage = Outage()
    outage.note("connecting", 10.0)
    outage.note("connecting", 12.0)
    assert outage.begins(patient=True, after=0.5) == outage.begins(patient=False, after=0.5) == 10.5
    outage.note("blocked", 13.0)
    assert outage.begins(patient=True, after=0.5) is None
    assert outage.begins(patient=False, after=0.5) == 10.5
    outage.note("failed", 14.0)
    assert outage.begins(patient=True, after=0.5) == 14.5
    outage.note("connected", 15.0)
    assert outage.connected
    assert outage.begins(patient=False, after=0.5) is None
