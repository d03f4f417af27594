"""The lines and the document of `zocaloctl doctor`."""

from zocalo_daemon.doctor.findings import (
    Level,
    document,
    healthy,
    in_order,
    installing,
    lines,
    ok,
    problem,
    warning,
)

FOUND = [
    ok("daemon", "/run/z.sock", "answers in 2 ms"),
    warning("clock", "", "nothing keeps it right", "timedatectl set-ntp true"),
    problem("state directory", "/var/lib/zocalo", "is no directory", "move it away"),
    ok("daemon", "/run/z.sock", "answers in 2 ms"),
]


def test_the_worst_comes_first_and_none_twice():
    assert [finding.level for finding in in_order(FOUND)] == [Level.PROBLEM, Level.WARNING, Level.OK]


def test_each_line_says_how_bad_what_where_and_what_to_do():
    assert lines(FOUND[:3], colour=False) == [
        "problem  state directory  /var/lib/zocalo: is no directory; do: move it away",
        "warning  clock            nothing keeps it right; do: timedatectl set-ntp true",
        "ok       daemon           /run/z.sock: answers in 2 ms",
        "1 problem, 1 warning, 1 ok",
    ]


def test_colours_are_around_the_level_alone():
    assert lines(FOUND[1:2], colour=True)[0].startswith("\033[33mwarning\033[0m  clock  nothing")


def test_a_name_cannot_command_the_terminal():
    evil = problem("a", "\033]0;x\a", "b\nc", "\033[2J")
    assert "\033" not in "".join(lines([evil], colour=False))
    assert len(lines([evil], colour=False)) == 2


def test_only_a_problem_is_unhealthy():
    assert healthy(FOUND[:2])
    assert not healthy(FOUND)


def test_the_document_for_programs():
    found = document(FOUND[1:3])
    assert found["ok"] is False
    assert found["findings"][0] == {
        "level": "problem",
        "what": "state directory",
        "where": "/var/lib/zocalo",
        "text": "is no directory",
        "do": "move it away",
    }


def test_pip_is_named_only_where_it_is():
    assert installing("msgpack", "/opt/z/bin/python", True) == "/opt/z/bin/python -m pip install msgpack"
    assert "pip" not in installing("msgpack", "/usr/lib/zocalo-daemon/1/bin/python3", False)
