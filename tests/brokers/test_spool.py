"""The spool of a transport, on a real disk, with a driver that is played by the test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from zocalo_daemon.brokers.base import BrokerStatus, Confirmed, Kind, Publication, Refused
from zocalo_daemon.relay.letters import Letters
from zocalo_daemon.relay.pool import warn_of_strangers
from zocalo_daemon.relay.spool import Spool
from zocalo_daemon.relay.spooling import GRACE, PATIENCE, Job, Spooled

Event = Confirmed | Refused
LIMIT = 100_000
STEP = 0.01  # seconds of a turn


class Stage:
    """A spool whose driver does what the test says, and whose time passes by `turns`."""

    def __init__(self, directory: Path, limit: int = LIMIT, now: float = 1000.0) -> None:
        self.directory, self.limit = directory, limit
        self.time = now
        self.status = BrokerStatus("connected", "broker:5672")
        self.sent: list[tuple[bytes, Publication, Callable[[Event], None]]] = []  # to the driver
        self.answers: dict[bytes, Event] = {}
        self.lives = 0
        self.begin()

    def begin(self) -> None:
        """Start a life of the relay."""
        self.lives += 1
        clock = lambda: self.time  # noqa: E731
        self.spool = Spool(
            "rabbit", self.directory, self.limit, itertools.count(self.lives << 32), clock=clock, wall=clock
        )
        self.sent.clear()
        self.spool.attach(self._send, lambda: self.status)
        self.letters = Letters(self.spool.backlog)

    def _send(
        self, publications: Sequence[Publication], _unit: bool, answer: Callable[[Event], None]
    ) -> None:
        self.sent.append((publications[0].body, publications[0], answer))

    def die(self) -> None:
        """End a life without a farewell: the store closes as the kernel would do it."""
        store = self.spool.backlog.store
        if store is not None:
            store._store.close()

    def submit(
        self, body: bytes, *, patient: bool = False, origin: tuple[str, int] | None = None, **more
    ) -> None:
        """Submit a message to the queue "jobs"."""
        publication = Publication(
            more.pop("kind", Kind.QUEUE), more.pop("destination", "jobs"), {}, body, origin=origin, **more
        )
        self.spool.submit(Job([publication], lambda event: self.answers.__setitem__(body, event), patient))

    def turns(self, seconds: float = 5 * STEP) -> None:
        """Let time pass."""
        end = self.time + seconds
        while self.time < end:
            self.time += STEP
            self.spool.poll(self.time)

    def away(self, state: str = "connecting", seconds: float = GRACE + 0.1) -> None:
        """The broker is away."""
        self.status = BrokerStatus(state, "broker:5672")
        self.spool.look()
        self.turns(seconds)

    def back(self) -> None:
        self.status = BrokerStatus("connected", "broker:5672")
        self.turns()

    def confirm(self, count: int | None = None) -> list[bytes]:
        """Confirm what the driver has, once; return it."""
        done, self.sent[:] = list(self.sent[:count]), self.sent[count:] if count is not None else []
        for _, _, answer in done:
            answer(Confirmed(0))
        self.turns()
        return [body for body, _, _ in done]

    def drain(self) -> list[bytes]:
        """Confirm until nothing more comes."""
        bodies = []
        while done := self.confirm():
            bodies += done
        return bodies


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "spool")


def numbers(*args: int) -> list[bytes]:
    return [b"%d" % number for number in range(*args)]


def test_nothing_is_stored_while_the_broker_is_there(stage):
    stage.submit(b"a")
    assert stage.confirm() == [b"a"]
    assert type(stage.answers[b"a"]) is Confirmed
    assert not stage.directory.exists()


def test_what_is_submitted_while_the_broker_is_away_is_stored_and_forwarded_in_order(stage):
    stage.away()
    for body in numbers(500):
        stage.submit(body)
    stage.turns()
    assert all(isinstance(stage.answers[body], Spooled) for body in numbers(500))
    assert stage.answers[b"0"].since == pytest.approx(1000.0, abs=0.1)
    assert stage.sent == []
    assert stage.spool.figures()["spooled"] == 500
    stage.back()
    assert 0 < len(stage.sent) <= 200
    assert stage.drain() == numbers(500)
    assert stage.spool.figures() == {"spooled": 0, "spooled_bytes": 0, "spooled_since": None}


def test_what_comes_while_something_waits_queues_behind_it(stage):
    stage.away()
    for body in numbers(300):
        stage.submit(body)
    stage.back()
    assert len(stage.sent) < 300
    stage.submit(b"b")
    stage.turns()
    assert isinstance(stage.answers[b"b"], Spooled)
    assert stage.answers[b"b"].since is None
    assert stage.drain() == [*numbers(300), b"b"]
    stage.submit(b"c")
    assert b"c" not in stage.answers
    stage.confirm()
    assert type(stage.answers[b"c"]) is Confirmed


def test_what_comes_while_the_driver_has_all_that_waited_follows_it_past_the_disk(stage):
    stage.away()
    stage.submit(b"a")
    stage.back()
    for body in numbers(100):  # somebody submits faster than the broker confirms: the spool ends all the same
        stage.submit(body)
        stage.turns()
        stage.confirm(1)
    assert stage.spool.figures()["spooled"] == 0
    assert type(stage.answers[b"0"]) is Confirmed
    stage.drain()
    assert all(type(stage.answers[body]) is Confirmed for body in numbers(100))


def test_what_followed_the_last_entries_is_spooled_behind_them_when_the_broker_goes_again(stage):
    stage.away()
    stage.submit(b"a")
    stage.back()
    stage.submit(b"b")
    stage.turns()
    stage.away()
    stage.submit(b"c")
    stage.turns()
    assert isinstance(stage.answers[b"b"], Spooled)
    stage.die()
    stage.begin()
    stage.back()
    assert stage.drain() == [b"a", b"b", b"c"]


def test_what_is_refused_for_a_while_lets_nothing_pass(stage):
    stage.away()
    stage.submit(b"a")
    stage.back()
    stage.sent.pop()[2](Refused(0, "full", "no memory"))
    stage.turns()
    stage.submit(b"b")
    stage.turns(2.0)
    assert stage.drain() == [b"a", b"b"]


def test_a_short_absence_does_not_touch_the_disk(stage):
    stage.away(seconds=GRACE / 2)
    stage.submit(b"a")
    stage.back()
    assert stage.confirm() == [b"a"]
    assert not stage.directory.exists()


def test_what_the_driver_had_is_spooled_and_not_sent_twice(stage):
    stage.submit(b"a")
    stage.submit(b"b")
    stage.away()
    stage.submit(b"c")
    stage.turns()
    assert {type(stage.answers[one]) for one in (b"a", b"b", b"c")} == {Spooled}
    assert [body for body, _, _ in stage.sent] == [b"a", b"b"]
    stage.back()
    assert [body for body, _, _ in stage.sent] == [b"a", b"b", b"c"]
    stage.drain()
    assert stage.spool.figures()["spooled"] == 0


def test_what_the_driver_ends_before_its_turn_comes_is_not_sent_twice(stage):
    stage.submit(b"a")
    stage.away()
    assert stage.confirm() == [b"a"]  # by a connection that nobody knew of
    stage.back()
    assert stage.sent == []
    assert stage.spool.figures()["spooled"] == 0


def test_a_death_forwards_again_what_was_not_confirmed_and_nothing_else(stage):
    stage.away()
    for body in numbers(6):
        stage.submit(body)
    stage.turns()
    stage.back()
    stage.confirm(2)
    stage.die()
    stage.begin()
    stage.turns()
    assert stage.drain() == numbers(2, 6)


def test_what_is_sent_again_by_a_client_is_stored_once(stage):
    stage.submit(b"1", patient=True, origin=("w", 1))
    stage.away()
    stage.submit(b"2", patient=True, origin=("w", 2))
    stage.turns()
    stage.die()
    stage.begin()
    for number in (1, 2, 3):
        stage.submit(b"%d" % number, patient=True, origin=("w", number))
    stage.turns()
    stage.back()
    assert stage.drain() == [b"1", b"2", b"3"]


def test_a_misrouted_message_becomes_a_dead_letter_and_the_rest_goes_on(stage, caplog):
    stage.away()
    for body in numbers(5):
        stage.submit(body)
    stage.turns()
    stage.back()
    stage.sent.pop(2)[2](Refused(0, "unroutable", "there is no queue 'jobs'"))
    assert stage.drain() == [b"0", b"1", b"3", b"4"]
    assert "rabbit: a spooled message is now a dead letter: there is no queue 'jobs'" in caplog.text
    assert [queue.name for queue in stage.letters.queues()] == ["dlq.jobs"]
    (letter,) = stage.letters.dead_letters("dlq.jobs", 10)
    assert (letter.body, letter.origin, letter.reason) == (b"2", "jobs", "there is no queue 'jobs'")
    assert stage.spool.figures()["spooled"] == 0
    assert stage.letters.reinject("dlq.jobs", [letter.id], None) == 1
    assert stage.spool.figures()["spooled"] == 1
    stage.turns()
    assert stage.sent[0][1].destination == "jobs"
    assert stage.sent[0][1].headers["dlq-reinjected"] is True
    assert stage.drain() == [b"2"]
    assert stage.letters.queues() == []


def test_dead_letters_outlive_the_relay_and_can_go_elsewhere(stage):
    stage.away()
    stage.submit(b"a", exchange="x", destination="key")
    stage.submit(b"b")
    stage.turns()
    stage.back()
    stage.sent.pop(0)[2](Refused(0, "unroutable", "no"))
    stage.sent.pop(0)[2](Refused(0, "invalid", "no"))
    stage.turns()
    stage.spool.close()
    stage.begin()
    assert sorted(queue.name for queue in stage.letters.queues()) == ["dlq.jobs", "dlq.key"]
    assert stage.letters.reinject("dlq.jobs", None, "other") == 1
    assert stage.letters.reinject("dlq.key", None, None) == 1
    stage.turns()
    assert [(p.exchange, p.destination) for _, p, _ in stage.sent] == [("", "other"), ("x", "key")]
    stage.drain()
    stage.spool.close()
    assert not stage.directory.exists()


def test_what_the_broker_cannot_store_now_is_sent_again(stage):
    stage.away()
    stage.submit(b"a")
    stage.turns()
    stage.back()
    stage.sent.pop()[2](Refused(0, "full", "the queue is full"))
    stage.turns(0.5)
    assert stage.sent == []
    stage.turns(0.7)
    assert stage.drain() == [b"a"]


def test_times_count_from_the_submission(stage, caplog):
    stage.away()
    stage.submit(b"late", expiration=5.0)
    stage.submit(b"delayed", delay=30.0)
    stage.submit(b"due", delay=1.0, expiration=60.0)
    stage.turns(10.0)
    stage.back()
    assert [body for body, _, _ in stage.sent] == [b"delayed", b"due"]
    assert stage.sent[0][1].delay == pytest.approx(20.0, abs=0.2)
    assert (stage.sent[1][1].delay, stage.sent[1][1].expiration) == (0.0, pytest.approx(50.0, abs=0.2))
    assert "rabbit: 1 spooled messages for jobs had expired and were dropped" in caplog.text
    stage.drain()
    assert stage.spool.figures()["spooled"] == 0


def test_what_waits_for_a_transport_that_is_gone_is_told(tmp_path, caplog):
    stage = Stage(tmp_path / "spool" / "old")
    stage.away()
    stage.submit(b"a")
    stage.turns()
    stage.spool.close()
    warn_of_strangers(tmp_path, {"old", "new"})
    assert caplog.text == ""
    warn_of_strangers(tmp_path, {"new"})
    assert "1 messages are in " in caplog.text
    assert "the spool of a transport that is not configured: configure 'old' again" in caplog.text
    stage.begin()
    stage.back()
    assert stage.drain() == [b"a"]


def test_a_full_spool_refuses_who_does_not_wait_and_holds_who_does(tmp_path):
    stage = Stage(tmp_path / "spool", limit=1000)
    stage.away()
    stage.submit(b"a" * 600)
    stage.submit(b"b" * 600)
    stage.submit(b"c" * 600, patient=True)
    stage.submit(b"d", patient=True)
    stage.submit(b"e")
    stage.turns()
    assert isinstance(stage.answers[b"a" * 600], Spooled)
    refused = stage.answers[b"b" * 600]
    assert refused.code == "full"
    assert "the spool of 'rabbit' is full" in refused.reason
    assert "the broker broker:5672 is away since" in refused.reason
    assert stage.answers[b"e"].code == "full"
    assert b"c" * 600 not in stage.answers
    assert b"d" not in stage.answers
    stage.back()
    assert stage.drain() == [b"a" * 600, b"c" * 600, b"d"]
    assert isinstance(stage.answers[b"d"], Spooled)


def test_what_is_larger_than_the_spool_is_refused(tmp_path):
    stage = Stage(tmp_path / "spool", limit=1000)
    stage.away()
    stage.submit(b"a" * 2000, patient=True)
    assert stage.answers[b"a" * 2000].code == "full"


def test_a_disk_that_takes_nothing(stage, caplog):
    stage.directory.parent.joinpath("spool").write_text("no directory")
    stage.away()
    stage.submit(b"a")
    stage.submit(b"b", patient=True)
    stage.submit(b"c", patient=True)
    stage.turns()
    assert stage.answers[b"a"].code == "full"
    assert "cannot keep queues in" in stage.answers[b"a"].reason
    assert "cannot keep queues in" in stage.spool.look().detail
    assert caplog.text.count("nothing can be spooled") == 1
    assert b"b" not in stage.answers
    stage.directory.unlink()
    stage.turns(1.5)
    assert isinstance(stage.answers[b"b"], Spooled)
    stage.back()
    assert stage.drain() == [b"b", b"c"]


def test_without_a_spool_who_does_not_wait_is_refused_after_a_while(tmp_path):
    stage = Stage(tmp_path / "spool", limit=0)
    stage.status = BrokerStatus("connecting", "broker:5672")
    stage.submit(b"a")
    stage.submit(b"b", patient=True)
    stage.turns(PATIENCE - 0.1)
    assert stage.answers == {}
    stage.turns(0.2)
    assert stage.answers[b"a"].code == "failed"
    assert "has no spool" in stage.answers[b"a"].reason
    assert "may still arrive" in stage.answers[b"a"].reason
    stage.submit(b"c")
    assert stage.answers[b"c"].code == "failed"
    assert [body for body, _, _ in stage.sent] == [b"a", b"b"]
    stage.back()
    stage.drain()
    assert set(stage.answers) == {b"a", b"b", b"c"}


def test_a_broker_that_is_blocked_is_back_pressure_for_who_waits(stage):
    stage.away("blocked")
    stage.submit(b"a", patient=True)
    stage.turns(1.0)
    assert stage.answers == {}
    stage.submit(b"b")
    stage.turns()
    assert isinstance(stage.answers[b"a"], Spooled)  # or it would be behind
    assert isinstance(stage.answers[b"b"], Spooled)
    stage.back()
    assert stage.drain() == [b"a", b"b"]


def test_broadcasts_that_expire_are_no_longer_news(stage, caplog):
    stage.away()
    stage.submit(b"a", kind=Kind.TOPIC, expiration=15.0, patient=True)
    stage.submit(b"b", kind=Kind.TOPIC, patient=True)
    stage.turns()
    assert type(stage.answers[b"a"]) is Confirmed
    assert isinstance(stage.answers[b"b"], Spooled)
    stage.back()
    assert stage.drain() == [b"b"]
    assert "rabbit: 1 broadcasts were dropped while it was away" in caplog.text


def test_what_goes_to_a_temporary_queue_is_not_kept(stage):
    stage.away()
    stage.submit(b"a", destination="transient.x", patient=True)
    stage.submit(b"b", destination="transient.x")
    stage.turns(PATIENCE + 0.1)
    assert [body for body, _, _ in stage.sent] == [b"a", b"b"]
    assert b"a" not in stage.answers
    assert stage.answers[b"b"].code == "failed"


def test_a_unit_stays_one(stage):
    stage.away()
    publications = [Publication(Kind.QUEUE, "jobs", {}, body) for body in numbers(3)]
    answers: list[Event] = []
    stage.spool.submit(Job(publications, answers.append, patient=True, unit=True))
    stage.turns()
    assert isinstance(answers[0], Spooled)
    stage.back()
    assert len(stage.sent) == 1
    stage.sent.pop()[2](Refused(0, "unroutable", "no"))
    stage.turns()
    assert [one.body for one in stage.letters.dead_letters("dlq.jobs", 10)] == numbers(3)


def test_the_loop_need_not_turn_while_nothing_can_be_done(stage):
    stage.away()
    stage.submit(b"a")
    stage.turns()
    assert stage.spool.timeout(stage.time) is None or stage.spool.timeout(stage.time) > 0.5
    stage.back()
    stage.drain()
    assert stage.spool.timeout(stage.time) is None or stage.spool.timeout(stage.time) > 0.5
