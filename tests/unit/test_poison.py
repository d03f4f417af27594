"""How often workers have died of a message."""

from __future__ import annotations

from pathlib import Path

from zocalo_daemon.brokers.base import Outcome, Settlement
from zocalo_daemon.relay import poison
from zocalo_daemon.relay.deaths import explain
from zocalo_daemon.relay.poison import Poison

PLACE = ("embedded", "q", {"a": 1}, b"body")


def test_crashes_of_a_message_are_counted():
    counts = Poison()
    assert not counts
    assert counts.crashed(*PLACE, 3) == [3]
    assert counts.crashed(*PLACE, 5) == [3, 5]
    assert counts
    others = [("other", *PLACE[1:]), ("embedded", "r", *PLACE[2:]), ("embedded", "q", {"a": 2}, b"body")]
    for other in (*others, ("embedded", "q", {"a": 1}, b"other")):
        assert counts.crashed(*other, 1) == [1]


def test_what_a_broker_adds_to_headers_makes_no_other_message():
    counts = Poison()
    counts.crashed(*PLACE, 1)
    assert counts.crashed("embedded", "q", {"x-delivery-count": 1, "a": 1}, b"body", 2) == [1, 2]


def test_a_message_that_is_accepted_or_rejected_is_forgotten():
    for outcome, left in ((Outcome.ACCEPT, [9]), (Outcome.REJECT, [9]), (Outcome.FORFEIT, [1, 9])):
        counts = Poison()
        counts.crashed(*PLACE, 1)
        counts.delivered("embedded", "q", 7, {"a": 1, "x-delivery-count": 2}, b"body")
        counts.delivered("embedded", "q", 8, {"a": 2}, b"body")
        counts.settled("embedded", Settlement(8, Outcome.ACCEPT))
        counts.settled("embedded", Settlement(7, outcome))
        assert not counts.watched
        assert counts.crashed(*PLACE, 9) == left


def test_a_message_that_went_to_the_dead_letters_begins_anew():
    counts = Poison()
    counts.crashed(*PLACE, 1)
    counts.forget(*PLACE)
    assert not counts
    assert counts.crashed(*PLACE, 2) == [2]


def test_the_number_of_messages_is_bounded(monkeypatch):
    monkeypatch.setattr(poison, "MOST", 2)
    counts = Poison()
    for queue in ("a", "b", "a", "c"):
        counts.crashed("t", queue, {}, b"", 1)
    assert counts.crashed("t", "a", {}, b"", 2) == [1, 1, 2]
    assert counts.crashed("t", "b", {}, b"", 2) == [2]


def test_counts_outlive_the_process(tmp_path: Path):
    counts = Poison(tmp_path / "poison.json")
    assert counts.read() == ""
    counts.crashed(*PLACE, 4)
    assert counts.save() == ""
    again = Poison(tmp_path / "poison.json")
    assert again.read() == ""
    again.delivered("embedded", "q", 1, {"a": 1}, b"body")
    assert again.watched
    assert again.crashed(*PLACE, 5) == [4, 5]
    assert (tmp_path / "poison.json").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path):
    file = tmp_path / "poison.json"
    for text in ("", "[]", '{"messages": [1]}', '{"messages": [["a", "b"]]}'):
        file.write_text(text)
        assert "counted afresh" in Poison(file).read()
    counts = Poison(tmp_path / "none" / "poison.json")
    counts.crashed(*PLACE, 1)
    assert "cannot be written" in counts.save()
    assert counts.save() == ""  # said once


def test_the_reason_of_a_dead_letter_names_the_reports():
    assert explain([0]) == "1 worker has died of it"
    assert "crash report 4 " in explain([0, 4])
    assert explain([1, 2, 3]).startswith("3 workers have died of it: crash reports 1, 2, 3 ")


def test_relays_that_share_the_file_count_together(tmp_path: Path):
    one, other = (Poison(tmp_path / "poison.json", shared=True) for _ in range(2))
    one.crashed(*PLACE, 1)
    one.save()
    other.look()
    assert other.crashed(*PLACE, 2) == [1, 2]
    other.save()
    one.crashed("embedded", "other", {}, b"", 3)  # without a look at what has happened meanwhile
    one.save()
    assert one.crashed(*PLACE, 4) == [1, 2, 4]
    one.save()
    other.look()
    other.delivered("embedded", "q", 7, {"a": 1}, b"body")
    other.settled("embedded", Settlement(7, Outcome.ACCEPT))
    other.save()
    one.look()
    one.delivered("embedded", "q", 8, {"a": 1}, b"body")
    assert not one.watched
    assert other.crashed("embedded", "other", {}, b"", 5) == [3, 5]


def test_a_look_keeps_what_is_not_written_yet(tmp_path: Path):
    one, other = (Poison(tmp_path / "poison.json", shared=True) for _ in range(2))
    one.crashed(*PLACE, 1)
    other.crashed("embedded", "r", {}, b"", 2)
    other.save()
    one.look()
    one.save()
    third = Poison(tmp_path / "poison.json")
    third.read()
    assert third.crashed(*PLACE, 3) == [1, 3]
    assert third.crashed("embedded", "r", {}, b"", 4) == [2, 4]
