"""Lists of crash reports and dead letters: whole on a wide terminal, and readable on a narrow one."""

import time
from argparse import Namespace

import pytest

from zocalo_daemon.client import crashes, deadletters, output

WHY = "exit status 1: ValueError: no such detector; mend the message, then: zocaloctl dlq reinject"
DIED = time.mktime((2026, 11, 22, 13, 0, 0, 0, 0, -1))
CRASH = {
    "id": 7,
    "time": DIED,
    "instance": "spotfinder/0",
    "cause": "exception",
    "text": WHY,
    "queue": "spots",
}
LETTER = {"id": 9, "queue": "dlq.spots", "origin": "spots", "time": DIED, "reason": WHY, "body": b"x" * 99}


class Daemon:
    def call(self, op, *_args):
        return {"crashes": [CRASH]} if op == "crashes" else [LETTER]


def crash_list():
    return crashes.crashes(Daemon(), Namespace(targets=[], limit=50, json=False))


def letter_list():
    return deadletters.dlq_list(Daemon(), Namespace(queues=[], limit=100, transport=None, json=False))


@pytest.mark.parametrize("show", [crash_list, letter_list])
def test_every_word_of_the_reason_fits_a_narrow_terminal(show, monkeypatch, capsys):
    monkeypatch.setattr(output, "terminal_columns", lambda: 60)
    assert show() == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines[2:]).split()) == WHY
    assert "2026-11-22 13:00:00" in lines[1]


@pytest.mark.parametrize("show", [crash_list, letter_list])
def test_programs_read_a_line_for_each(show, monkeypatch, capsys):
    monkeypatch.setattr(output, "terminal_columns", lambda: None)
    show()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith(WHY)
    assert "spots" in lines[1]
