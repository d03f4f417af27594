"""The lock file: who holds it, and what it says."""

import os

import pytest

from zocalo_daemon.supervision import life


def test_a_life_has_a_marker_of_its_own_and_a_secret_that_is_never_shown(tmp_path):
    file = tmp_path / "lock"
    first = life.begin(life.lock(file))
    assert life.former(file.read_bytes()) == life.Former(str(os.getpid()), first.marker)
    assert life.holder(file) == str(os.getpid())
    assert first.secret not in repr(first)
    assert first.secret.encode() not in file.read_bytes()
    os.close(first.lock)
    second = life.begin(life.lock(file))
    assert second.marker != first.marker
    assert second.secret != first.secret
    os.close(second.lock)


def test_a_lock_is_held_by_one_and_keeps_what_the_former_one_wrote(tmp_path):
    file = tmp_path / "lock"
    former = life.begin(life.lock(file))
    assert life.lock(file) is None
    os.close(former.lock)
    again = life.lock(file)
    assert life.former(os.pread(again, 100, 0)).marker == former.marker
    assert file.stat().st_mode & 0o777 == 0o600
    os.close(again)


@pytest.mark.parametrize(
    ("content", "pid", "marker"),
    [
        (b"", "", ""),
        (b"4711\n", "4711", ""),
        (b"4711\nabc1\n", "4711", "abc1"),
        (b"4711\nabc1\nmore\n", "4711", "abc1"),
        (b"\xff\x00\x1b[31m\n", "", ""),
        (b"1" * 1000, "1" * 200, ""),
    ],
)
def test_whatever_is_in_the_file_does_no_harm(content, pid, marker):
    assert life.former(content) == life.Former(pid, marker)


def test_nobody_is_named_by_a_file_that_is_not_there(tmp_path):
    assert life.holder(tmp_path / "no") == "?"
