"""A list of dead letters fits into one frame."""

import pytest

from zocalo_daemon.control.letters import ROOM, fitted
from zocalo_daemon.protocol.framing import MAX_FRAME, encode


def letters(*sizes):
    return [{"id": number, "body": b"x" * size} for number, size in enumerate(sizes)]


def bodies(found):
    return [len(letter["body"]) for letter in found]


@pytest.mark.parametrize(
    ("sizes", "room", "kept"),
    [
        ([], 10, []),
        ([0], 10, [0]),
        ([3, 4, 3], 10, [3, 4, 3]),
        ([11], 10, [10]),
        ([100, 1, 100], 21, [10, 1, 10]),
        ([5, 5, 5], 2, [0, 0, 0]),
    ],
)
def test_long_bodies_are_cut_to_what_is_left(sizes, room, kept):
    found = fitted(letters(*sizes), room)
    assert bodies(found) == kept
    assert [letter["size"] for letter in found] == sizes
    assert [letter["size"] - letter["cut"] for letter in found] == kept


def test_whatever_it_is_fits_into_a_frame():
    found = fitted(letters(*[40_000] * 999, 10 * MAX_FRAME))
    assert sum(bodies(found)) <= ROOM
    encode({"id": 1, "ok": found})
