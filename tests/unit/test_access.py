"""Who may what, by owner and mode."""

import stat
from types import SimpleNamespace

import pytest

from zocalo_daemon.doctor.access import READ, SEARCH, WRITE, Account, may, replaceable

ANNA = Account(1000, frozenset({100, 200}))


def about(mode, uid=1, gid=1):
    return SimpleNamespace(st_mode=mode, st_uid=uid, st_gid=gid)


@pytest.mark.parametrize(
    ("found", "bits", "allowed"),
    [
        (about(0o600, uid=1000), READ | WRITE, True),
        (about(0o077, uid=1000), READ, False),  # the owner's bits alone count for the owner
        (about(0o640, gid=200), READ, True),
        (about(0o604, gid=200), READ, False),
        (about(0o604), READ, True),
        (about(0o700), SEARCH, False),
    ],
)
def test_the_first_class_that_fits_decides(found, bits, allowed):
    assert may(found, ANNA, bits) is allowed


def test_root_may_everything():
    assert may(about(0), Account(0, frozenset()), READ | WRITE)


@pytest.mark.parametrize(
    ("found", "open_to_others"),
    [
        (about(0o700, uid=1000), False),
        (about(0o755, uid=0), False),
        (about(0o777, uid=0), True),
        (about(0o777 | stat.S_ISVTX, uid=0), False),
        (about(0o700, uid=7), True),
    ],
)
def test_who_can_replace_files_in_a_directory(found, open_to_others):
    assert replaceable(found, ANNA) is open_to_others
