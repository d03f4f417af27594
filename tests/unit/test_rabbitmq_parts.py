"""The decisions of the RabbitMQ driver that need no broker."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from zocalo_daemon.brokers import rabbitmq_delays as delays
from zocalo_daemon.brokers.base import Kind, Source
from zocalo_daemon.brokers.hosts import Hosts, Troubles
from zocalo_daemon.brokers.rabbitmq_confirms import Confirms, Entry
from zocalo_daemon.brokers.rabbitmq_consumer import Consumer, Verdict, explain, make, temporary_name, verdict
from zocalo_daemon.brokers.rabbitmq_headers import from_amqp, to_amqp
from zocalo_daemon.brokers.rabbitmq_reasons import reason_of
from zocalo_daemon.brokers.rabbitmq_requeues import Requeues, Unseen
from zocalo_daemon.brokers.rabbitmq_window import LARGEST, Acks, Prefetch
from zocalo_daemon.brokers.rabbitmq_wire import Arrival

# -- Hosts


def test_every_host_is_tried_before_anybody_waits():
    hosts = Hosts(["a:1", "b:1", "c:1"], chance=lambda: 1.0)
    tries = [hosts.next() for _ in range(10)]
    assert [host for host, _ in tries[:3]] == ["a:1", "b:1", "c:1"]
    assert [delay for _, delay in tries] == [0, 0, 0, 0.2, 0, 0, 0.4, 0, 0, 0.8]


def test_delays_are_bounded_and_spread():
    hosts = Hosts(["a:1"], chance=lambda: 0.0)
    delays_ = [hosts.next()[1] for _ in range(40)]
    assert delays_[1] == 0.1 and max(delays_) == delays_[-1] == 7.5


def test_a_host_that_answered_is_tried_first_and_at_once():
    hosts = Hosts(["a:1", "b:1"], chance=lambda: 0.5)
    hosts.next()
    hosts.next()
    hosts.connected()
    assert hosts.next() == (
        "b:1",
        pytest.approx(0.15),
    )  # it may only take connections to end them
    hosts.connected()
    hosts.steady()
    assert hosts.next() == ("b:1", 0.0)


def test_a_trouble_is_news_once_for_each_host():
    troubles = Troubles()
    assert not troubles.clear()
    assert troubles.note("a:1", "refused") and not troubles.note("a:1", "refused")
    assert troubles.line() == "refused"
    assert troubles.note("b:1", "unknown") and not troubles.note("a:1", "refused")
    assert troubles.line() == "a:1: refused; b:1: unknown"
    assert troubles.note("b:1", "refused")
    assert troubles.clear() and troubles.line() == "" and not troubles.clear()
    assert troubles.note("a:1", "refused")


EARLY = "it closed the connection before it spoke AMQP 0-9-1"


@pytest.mark.parametrize(
    ("kind", "text", "tls", "line"),
    [
        ("ProbableAuthenticationError", "x", False, "the broker refuses user 'me' or its password; check"),
        ("ConnectionClosedByBroker", "ACCESS_REFUSED - no", False, "the broker refuses user 'me'"),
        ("ProbableAccessDeniedError", "x", False, "user 'me' may not use the vhost 'v', or there is none"),
        ("ConnectionClosedByBroker", "NOT_ALLOWED - no", False, "user 'me' may not use the vhost 'v'"),
        ("IncompatibleProtocolError", "x", False, f"{EARLY}: is it ending, or does this port want TLS?"),
        ("IncompatibleProtocolError", "x", True, f"{EARLY}: is it ending?"),
        ("AMQPHeartbeatTimeout", "x", False, "the broker sent no heartbeat"),
        ("ConnectionClosedByBroker", "CONNECTION_FORCED", False, "the broker closed the connection: CONN"),
        ("StreamLostError", "connection reset", False, "connection reset"),
    ],
)  # fmt: skip
def test_why_a_connection_ended(kind, text, tls, line):
    assert reason_of(kind, text, user="me", vhost="v", tls=tls).startswith(line)


# -- Delays


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0001, 1), (0.4, 400), (2, 2000), (2.34, 2400), (0.0123, 13), (99.5, 100_000)],
)
def test_delays_are_rounded_up_to_two_digits(seconds, milliseconds):
    assert delays.milliseconds(seconds) == milliseconds


def test_a_delay_queue_outlives_what_waits_in_it():
    name, arguments = delays.queue_for(400, "", "q")
    assert name == "delay.400.q"
    assert arguments["x-message-ttl"] == 400
    assert (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == ("", "q")
    longest = int(delays.LONGEST * 1000)
    for delay in (1, 400, longest):
        expires = delays.queue_for(delay, "e", "k")[1]["x-expires"]
        assert delay + delays.FRESH * 1000 < expires < 2**32
    assert len(delays.queue_for(1, "", "ü" * 200)[0].encode()) <= 255


def test_the_traces_of_waiting_are_hidden_and_others_kept():
    ours, other = {"queue": "delay.400.q", "reason": "expired"}, {"queue": "q", "reason": "rejected"}
    first = {
        "x-first-death-queue": "delay.400.q",
        "x-first-death-reason": "expired",
        "x-first-death-exchange": "",
    }
    assert delays.hide({"a": 1, "x-death": [ours], **first}) == {"a": 1}
    kept = {"x-first-death-queue": "q", "x-first-death-reason": "rejected"}
    assert delays.hide({"x-death": [ours, other], **kept}) == {"x-death": [other], **kept}


# -- Headers


def test_plain_headers_stay_the_same_object():
    headers = {"a": "b", "n": 1, "t": True, "none": None, "raw": b"x"}
    assert to_amqp(headers) is headers


def test_floats_travel_as_decimals():
    assert to_amqp({"f": 1.5, "l": [0.25, {"d": 2.0}]}) == {
        "f": Decimal("1.5"),
        "l": [Decimal("0.25"), {"d": 2}],
    }
    assert from_amqp({"f": Decimal("1.5")}) == {"f": 1.5}
    assert to_amqp({"pi": 3.141592653589793}) == {"pi": Decimal("3.14159265")}
    for bad in (float("nan"), float("inf"), 1e30):
        with pytest.raises(ValueError, match="cannot be"):
            to_amqp({"f": bad})


def test_times_of_dead_letters_are_timestamps_on_the_wire():
    sent = to_amqp({"x-death": [{"queue": "q", "time": 1_700_000_000}]})
    assert sent["x-death"][0]["time"] == datetime(2023, 11, 14, 22, 13, 20)
    read = {"x-death": [{"queue": "q", "time": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}]}
    assert from_amqp(read) == {"x-death": [{"queue": "q", "time": 1_700_000_000}]}


# -- Windows and acknowledgements


def test_an_explicit_prefetch_starts_once():
    window = Prefetch(3)
    assert window.wanted() == 0
    window.allowed = 2
    assert window.wanted() == 3
    window.size, window.out, window.allowed = 3, 3, 5
    assert window.wanted() == 0 and not window.may_pause


def test_an_adaptive_prefetch_grows_in_powers_of_two_and_has_a_limit():
    window = Prefetch(0)
    window.allowed = 1
    assert window.wanted() == 1
    window.size, window.out = 1, 1
    assert window.wanted() == 2
    window.size, window.allowed, window.out = 2, 5, 4
    assert window.wanted() == 16
    window.allowed = 100_000
    assert window.wanted() == LARGEST
    window.allowed = 0
    assert window.wanted() == 0 and window.may_pause


def test_acknowledgements_in_a_row_take_one_frame():
    acks = Acks()
    for tag in range(1, 7):
        acks.add(tag)
    for tag in (1, 2, 3, 5):
        acks.done(tag)
    assert acks.take() == [(3, True), (5, False)]
    acks.drop(4)
    acks.done(6)
    assert acks.take() == [(6, False)]
    assert acks.take() == [] and len(acks) == 0


# -- Confirms


def entry(key: str, body: bytes = b"") -> Entry:
    return Entry("", key, body, None)


def test_confirms_by_number_and_up_to_a_number():
    confirms, entries = Confirms(), [entry(str(n)) for n in range(5)]
    for one in entries:
        confirms.add(one)
    assert list(confirms.take(2, False)) == [entries[1]]
    assert list(confirms.take(2, False)) == []
    assert list(confirms.take(4, True)) == [entries[0], entries[2], entries[3]]
    assert confirms.reset() == [entries[4]] and len(confirms) == 0
    confirms.add(entries[0])
    assert list(confirms.take(1, False)) == [entries[0]]


def test_a_return_means_the_oldest_that_is_equal():
    confirms = Confirms()
    entries = [entry("a", b"1"), entry("b", b"1"), entry("a", b"1"), entry("a", b"2")]
    for one in entries:
        confirms.add(one)
    confirms.mark_returned("", "a", b"2")
    confirms.mark_returned("", "a", b"1")
    assert [one.returned for one in entries] == [True, False, False, True]


# -- Putting back


def test_the_same_message_waits_longer_each_time_and_others_do_not():
    requeues = Requeues()
    waits = [requeues.delay("q", {"a": 1}, b"x", turn > 0) for turn in range(12)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8] and waits[-1] == 60.0
    assert requeues.delay("q", {"a": 2}, b"x", True) == 0.1
    assert requeues.delay("q", {"a": 1}, b"x", False) == 0.1
    assert requeues.delay("q", {"x-delivery-count": 3}, b"y", True) == 0.8


def test_what_nobody_has_seen_is_known_when_it_comes_again_and_only_then():
    unseen = Unseen()
    assert not unseen.take("q", {}, b"x")
    unseen.add("q", {"a": 1}, b"x")
    unseen.add("q", {"a": 1}, b"x")
    assert not unseen.take("other", {"a": 1}, b"x")
    assert not unseen.take("q", {"a": 2}, b"x")
    assert [unseen.take("q", {"a": 1}, b"x") for _ in range(3)] == [True, True, False]


def test_a_queue_from_which_others_take_is_not_trusted():
    unseen = Unseen()
    unseen.add("q", {}, b"x")
    unseen.add("mine", {}, b"x")
    unseen.share("q")
    assert not unseen.take("q", {}, b"x")
    assert unseen.take("mine", {}, b"x")


def test_a_quorum_queue_from_which_others_take_shows_by_its_count_that_none_of_them_had_it():
    unseen = Unseen()
    unseen.add("q", {}, b"x")
    unseen.share("q")
    assert unseen.take("q", {"x-delivery-count": 1}, b"x")
    unseen.add("q", {}, b"x")
    unseen.share("q")
    assert not unseen.take("q", {"x-delivery-count": 2}, b"x")


def test_the_count_of_a_quorum_queue_shows_that_somebody_else_had_it():
    unseen = Unseen()
    unseen.add("q", {}, b"x")
    assert unseen.take("q", {"x-delivery-count": 1}, b"x")
    unseen.add("q", {"x-delivery-count": 1}, b"x")
    assert not unseen.take("q", {"x-delivery-count": 3}, b"x")
    assert not unseen.take("q", {"x-delivery-count": 2}, b"x")


# -- Consumers


def test_only_an_idle_consumer_of_the_same_queue_takes_over():
    def idle(number: int, **options) -> Consumer:
        made = make(number, Source(Kind.QUEUE, options.pop("name", "q"), **options))
        made.seen, made.prefetch.allowed = True, 1
        return made

    busy = make(1, Source(Kind.QUEUE, "q"))
    assert idle(2).may_take_over(busy)
    assert not busy.may_take_over(idle(2))
    assert not idle(2, name="other").may_take_over(busy)
    assert not idle(2, prefetch=5).may_take_over(busy)
    assert not idle(2, exclusive=True).may_take_over(busy)
    gone, new, stream = idle(2), idle(3), idle(4)
    gone.cancelled, new.seen, stream.offset = True, False, 7
    assert not any(one.may_take_over(busy) for one in (gone, new, stream))
    fixed = make(5, Source(Kind.QUEUE, "q", prefetch=5))
    assert not idle(2).may_take_over(fixed)
    fixed.cancelled = True
    assert idle(2).may_take_over(fixed)


def test_what_becomes_of_a_consumer_whose_channel_ends():
    new, old = make(1, Source(Kind.QUEUE, "q")), make(2, Source(Kind.QUEUE, "q"))
    old.announced = True
    assert verdict(new, (404, "no queue 'q'")) is Verdict.FAIL
    assert verdict(old, (404, "no queue 'q'")) is Verdict.RETRY
    leader = make(3, Source(Kind.QUEUE, "q", exclusive=True))
    assert verdict(leader, (403, "queue 'q' in exclusive use")) is Verdict.STAND_BY
    assert verdict(leader, (403, "access to queue 'q' refused")) is Verdict.FAIL
    temporary = make(4, Source(Kind.TEMPORARY, "x"))
    assert verdict(temporary, (405, "locked")) is Verdict.RETRY
    temporary.attempts = 100
    assert verdict(temporary, (405, "locked")) is Verdict.FAIL


def test_reasons_name_the_queue():
    consumer = make(1, Source(Kind.QUEUE, "q"))
    assert (
        explain(consumer, (403, "refused"))
        == "no access to queue 'q': refused; check the permissions of that user"
    )
    assert "'t'" in explain(make(1, Source(Kind.TOPIC, "t")), (404, "NOT_FOUND - no exchange 't'"))
    assert explain(consumer, (406, "timed out")) == "queue 'q': timed out"


def test_temporary_names():
    made = temporary_name("transient.x")
    assert made.startswith("transient.x.") and temporary_name(made) == made
    assert temporary_name("").startswith("transient.reply.")


def test_a_stream_goes_on_where_it_was():
    consumer = make(1, Source(Kind.QUEUE, "q"))
    arrivals = [Arrival(n, False, "", "q", {"x-stream-offset": n}, b"") for n in range(4)]
    assert [consumer.is_repeated(one) for one in [*arrivals, arrivals[2]]] == [False] * 4 + [True]
    assert consumer.arguments() == {"x-stream-offset": 4}
    consumer.rewind([arrivals[3], arrivals[1]])
    assert consumer.arguments() == {"x-stream-offset": 1}
