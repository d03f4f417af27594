"""Bodies that come in pieces."""

import pytest

from zocalo_daemon.control.pieces import LONGEST, keep, whole
from zocalo_daemon.errors import Unavailable, UsageError


def test_pieces_become_a_body_once():
    pieces = []
    assert [keep(pieces, one) for one in (b"ab", b"c", b"")] == [2, 3, 3]
    assert whole(pieces, {"queue": "q", "body": b"", "size": 3}) == {"queue": "q", "body": b"abc", "size": 3}
    assert pieces == []


def test_a_message_in_one_frame_leaves_pieces_alone():
    pieces = [b"ab"]
    assert whole(pieces, {"body": b"x"}) == {"body": b"x"}
    assert pieces == [b"ab"]


def test_what_is_not_whole_is_not_sent():
    pieces = [b"ab"]
    with pytest.raises(Unavailable, match="2 of 3 bytes have arrived: send it again"):
        whole(pieces, {"size": 3})
    assert pieces == []


@pytest.mark.parametrize("data", ["text", None, b"x" * 10])
def test_what_is_no_piece_or_too_much_ends_it(data):
    pieces = [bytes(LONGEST - 5)]
    with pytest.raises(UsageError, match="a piece is bytes"):
        keep(pieces, data)
    assert pieces == []
