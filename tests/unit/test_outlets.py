import json
import os
import time

import pytest

from zocalo_daemon.supervision.outlets import File, LogMessage, Stream, json_line, prioritized, text


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def message(said, level=20, source="s/0", **fields):
    return LogMessage(source, level, said, 86400.0625, fields)


class Taken:
    def __init__(self):
        self.messages = []

    def write(self, one):
        self.messages.append(one)
        return True


def test_lines_for_people_carry_the_local_time_and_the_recipe(utc):
    assert text(message("text")) == "1970-01-02 00:00:00.062 s/0: text\n"
    assert text(message("two\nlines", recipe_ID="r-1")) == (
        "1970-01-02 00:00:00.062 s/0: [r-1] two\n1970-01-02 00:00:00.062 s/0: lines\n"
    )


def test_lines_for_the_stream_of_the_journal_carry_priorities():
    lines = [prioritized(message("text", level)) for level in (10, 20, 30, 40, 50)]
    assert lines == [f"<{p}>s/0: text\n" for p in (7, 6, 4, 3, 2)]


def test_json_is_one_line_with_all_fields():
    line = json_line(message('a "b"\nc', 30, recipe_ID="r", lineno=7, message="not this one"))
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": "1970-01-02T00:00:00.062Z",
        "level": "WARNING",
        "message": 'a "b"\nc',
        "recipe_ID": "r",
        "lineno": 7,
        "instance": "s/0",
        "service": "s",
        "source": "s/0",
    }


def test_fields_say_whom_a_message_concerns():
    assert message("x", source="relay").known() == {"source": "relay"}
    about = message("s/0 failed", source="zocalod", instance="s/0").known()
    assert about == {"source": "zocalod", "instance": "s/0", "service": "s"}
    claimed = message("x", instance="other/1", service="other", source="s/0").known()
    assert claimed == {"source": "s/0", "instance": "s/0", "service": "s"}


def test_a_full_pipe_takes_nothing_and_holds_up_nobody():
    read, write = os.pipe()
    stream = Stream(write, text)
    while stream.write(message("x" * 4000)):
        pass
    os.read(read, 1 << 20)
    assert stream.write(message("after"))
    os.close(read)
    assert not stream.write(message("nobody reads"))
    os.close(write)


def test_a_file_that_was_moved_away_is_made_anew(tmp_path):
    path, moved = tmp_path / "log", tmp_path / "log.1"
    file = File(path, prioritized, None)
    file.write(message("one"))
    path.rename(moved)
    file.write(message("two"))
    file.write(message("three"))
    file.close()
    assert moved.read_text() == "<6>s/0: one\n"
    assert path.read_text() == "<6>s/0: two\n<6>s/0: three\n"
    assert path.stat().st_mode & 0o027 == 0


def test_a_file_that_cannot_be_written_is_told_once_and_its_lines_are_not_lost(tmp_path):
    otherwise = Taken()
    file = File(tmp_path / "missing" / "log", text, otherwise)
    assert file.write(message("one"))
    assert file.write(message("two"))
    news, *lines = otherwise.messages
    assert "No such file or directory; its lines come here" in news.text
    assert [one.text for one in lines] == ["one", "two"]
    (tmp_path / "missing").mkdir()
    file.write(message("three"))
    assert (tmp_path / "missing" / "log").read_text().endswith("three\n")
    assert len(otherwise.messages) == 3
    file.close()
    os.mkfifo(tmp_path / "fifo")
    assert not File(tmp_path / "fifo", text, None).write(message("nobody reads"))
