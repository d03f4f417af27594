import json
import os
from pathlib import Path

import msgpack
import pytest

from zocalo_daemon.supervision.logs import (
    KEEP_BYTES,
    KEEP_LINES,
    EventBook,
    LineSplitter,
    LogBook,
    Ring,
)
from zocalo_daemon.supervision.outlets import MAX_LINE, File, Stream, json_line, prioritized, text


class Clock:
    now = 1000.0

    def __call__(self):
        self.now += 1
        return self.now


def test_lines_are_split_whatever_the_portions():
    data = b"first\nsecond\r\n\nlast"
    for size in range(1, len(data) + 1):
        splitter = LineSplitter()
        lines = [line for i in range(0, len(data), size) for line in splitter.feed(data[i : i + size])]
        assert lines == ["first", "second", ""]
        assert splitter.end() == ["last"]
        assert splitter.end() == []


def test_endless_line_is_cut():
    splitter = LineSplitter()
    lines = splitter.feed(b"x" * (3 * MAX_LINE + 1))
    assert [len(line) for line in lines] == [MAX_LINE] * 3
    assert splitter.end() == ["x"]


def test_bytes_that_are_no_text_are_kept_readable():
    assert LineSplitter().feed(b"\xff\xfe\n") == ["\ufffd\ufffd"]


def test_latest_lines_of_several_sources_come_by_time():
    book = LogBook(Clock(), None)
    for letter in "abcd":
        book.add("one" if letter in "ac" else "two", 20, letter)
    assert [item["text"] for item in book.latest(lambda _: True, 3)] == ["b", "c", "d"]
    assert [item["text"] for item in book.latest("one".__eq__, 9)] == ["a", "c"]
    assert book.latest(lambda _: True, 0) == []


def test_each_source_keeps_a_bounded_number_of_lines_and_bytes():
    book = LogBook(Clock(), None)
    for number in range(KEEP_LINES + 5):
        book.add("many", 20, str(number))
        book.add("large", 20, "x" * MAX_LINE)
    assert next(item["text"] for item in book.latest("many".__eq__, 10**6)) == "5"
    assert sum(len(item["text"]) for item in book.latest("large".__eq__, 10**6)) <= KEEP_BYTES


def test_followers_get_new_lines_until_they_leave():
    book = LogBook(Clock(), None)
    seen = []
    book.follow(1, lambda item: seen.append(item["text"]))
    book.add("one", 20, "two\nlines")
    book.follow(1, None)
    book.add("one", 20, "later")
    assert seen == ["two", "lines"]


def test_gone_sources_are_forgotten():
    book = LogBook(Clock(), None)
    book.add("kept", 20, "a")
    book.add("gone", 20, "b")
    book.keep_only(["kept"])
    assert [item["id"] for item in book.latest(lambda _: True, 9)] == ["kept"]


def test_full_standard_error_drops_and_counts():
    read, write = os.pipe()
    book = LogBook(Clock(), Stream(write, text))
    for _ in range(100):
        book.add("s/0", 20, "x" * 4000)  # far more than the pipe takes; this returns all the same
    while len(data := os.read(read, 1 << 20)) == 1 << 20:
        pass
    assert data
    book.add("s/0", 20, "after")
    first, last = os.read(read, 1 << 20).decode().splitlines()
    assert "messages dropped here" in first
    assert last.endswith(" s/0: after")
    os.close(read)
    os.close(write)


def test_events_are_kept_and_followed():
    book = EventBook(Clock())
    seen = []
    book.add("ready", "a/0", "", {"pid": 1})
    book.follow(1, seen.append)
    book.add("exited", "b/0", "gone", {"pid": 2})
    assert [item["event"] for item in book.latest(lambda _: True, 9)] == ["ready", "exited"]
    assert [item["pid"] for item in book.latest("a/0".__eq__, 9)] == [1]
    assert [item["id"] for item in seen] == ["b/0"]


@pytest.mark.parametrize("level", ["warning", None, True, 3.5, -1])
@pytest.mark.parametrize("when", ["now", None, -1, 1e300, float("nan")])
@pytest.mark.parametrize("form", [text, prioritized, json_line])
def test_a_record_of_another_process_cannot_disturb(level, when, form):
    read, write = os.pipe()
    book = LogBook(Clock(), Stream(write, form))
    book.add_record("relay", {"level": level, "time": when, "message": 7})
    os.close(write)
    line = os.read(read, 100)
    assert line.endswith(b"relay: 7\n") or json.loads(line)["message"] == "7"
    os.close(read)
    known = 0 if level == -1 else 20
    assert book.latest(lambda _: True, 9) == [{"time": 1001.0, "id": "relay", "level": known, "text": "7"}]


def test_new_code_keeps_the_lines_and_events_of_the_old_one(tmp_path):
    old, new = LogBook(lambda: 1.0, None), None
    old.add("a/0", 20, "first")
    with (tmp_path / "other").open("w") as other:  # has got the number of the standard error that is closed
        new = LogBook(lambda: 2.0, Stream(other.fileno(), text))
        new.take_over(old.hand_over())
        new.add("a/0", 20, "second")
        new.add("b/0", 20, "third")
    assert [item["text"] for item in new.latest(lambda _: True, 9)] == ["first", "second", "third"]
    assert (tmp_path / "other").read_text() == ""
    book, later = EventBook(lambda: 1.0), EventBook(lambda: 2.0)
    for number in range(1000):
        book.add("ready", "a/0", str(number), {})
    later.add("reexec", "zocalod", "", {})
    later.take_over(book.hand_over())
    events = later.latest(lambda _: True, 1000)
    assert len(events) == 1000  # the oldest one has gone
    assert (events[0]["text"], events[-1]["event"]) == ("1", "reexec")


def test_lines_that_were_packed_are_there_when_they_are_needed():
    ring = Ring(most_lines=3)
    lines = [{"time": float(number), "id": "a/0", "level": 20, "text": "x" * number} for number in range(6)]
    for line in lines[:4]:
        ring.add(line)
    packed = ring.hand_over()
    assert ring.hand_over() is packed  # nothing has come in between: nothing is packed anew
    assert list(Ring(3, packed=packed).items) == list(ring.items) == lines[1:4]
    later = Ring(most_lines=3, most_bytes=8, packed=ring.hand_over())
    later.add(lines[4])
    assert list(later.items) == lines[3:5]  # of 3 and 4 bytes
    assert msgpack.unpackb(later.hand_over()) == lines[3:5]


def test_half_a_line_is_kept():
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == ["one"]
    assert LineSplitter(splitter.rest).feed(b"o\n") == ["two"]


def test_another_outlet_takes_the_place_of_one_that_is_closed(tmp_path):
    first = File(tmp_path / "first", text, None)
    book = LogBook(Clock(), first)
    book.add("s/0", 20, "one")
    opened = len(list(Path("/proc/self/fd").iterdir()))
    book.direct(File(tmp_path / "second", text, None))
    assert len(list(Path("/proc/self/fd").iterdir())) == opened - 1
    book.add("s/0", 20, "two")
    assert (tmp_path / "first").read_text().endswith(" s/0: one\n")
    assert (tmp_path / "second").read_text().endswith(" s/0: two\n")
    book.direct(None)
    without = LogBook(Clock(), None)
    without.direct(first)
    without.add("s/0", 20, "nowhere")
    assert "nowhere" not in (tmp_path / "first").read_text()


def test_fields_stay_with_each_line_and_count_as_bytes():
    book = LogBook(Clock(), None)
    book.add("s/0", 20, "one\ntwo", fields={"recipe_ID": "r"}, more={"logger": "site"})
    lines = book.latest(lambda _: True, 9)
    assert [(item["text"], item["fields"]) for item in lines] == [
        ("[r] one", {"recipe_ID": "r"}),
        ("two", {"recipe_ID": "r"}),
    ]
    for _ in range(20):
        book.add("s/0", 20, "x", fields={"large": "y" * 10_000})
    assert len(book.latest(lambda _: True, 99)) == KEEP_BYTES // 10_006


def test_what_a_service_has_logged_itself_goes_nowhere_besides():
    book, besides = LogBook(Clock(), None), []
    book.besides = lambda message: besides.append(message.text)
    book.add("s/0", 20, "printed")
    book.add_record("relay", {"message": "of the relay"})
    book.add_record("s/0", {"message": "logged"}, None, {"recipe_ID": "r"}, {"logger": "site"})
    assert besides == ["printed", "of the relay"]
