"""Bodies that come in pieces: handed on by the supervisor, put together by the relay."""

from types import SimpleNamespace

import pytest

from zocalo_daemon.control.pieces import handed_on, of_publication
from zocalo_daemon.errors import Unavailable, UsageError
from zocalo_daemon.protocol.link import MAX_BODY
from zocalo_daemon.relay.bodies import Bodies


def test_pieces_become_a_body_once():
    bodies, kept = Bodies(), []
    sizes = []
    for number, data in enumerate((b"ab", b"c", b"")):
        told = handed_on(SimpleNamespace(args={"data": data}, pieces=kept), ["daemon", number])
        assert told["of"] == ["daemon", 0]
        sizes.append(bodies.keep(**told))
    assert sizes == [2, 3, 3]
    told = of_publication(SimpleNamespace(args={"body": b"", "size": 3}, pieces=kept))
    assert told == {"of": ["daemon", 0], "size": 3}
    assert kept == []
    assert bodies.take(**told) == b"abc"
    with pytest.raises(Unavailable, match="0 of 3 bytes"):
        bodies.take(**told)


def test_a_message_in_one_frame_leaves_pieces_alone():
    kept = [["daemon", 1], 2]
    assert of_publication(SimpleNamespace(args={"body": b"x"}, pieces=kept)) == {}
    assert kept == [["daemon", 1], 2]


def test_bodies_of_several_connections_do_not_mix():
    bodies = Bodies()
    for of, data in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        bodies.keep([of, 1], data)
    assert bodies.take(["a", 1], 2) == b"13"
    assert bodies.take(["b", 1], 1) == b"2"


@pytest.mark.parametrize("of", [["daemon", 1], None])
def test_what_is_not_whole_is_not_sent(of):
    with pytest.raises(Unavailable, match="of this message 0 of 3 bytes are here: send it again"):
        Bodies().take(of, 3)


@pytest.mark.parametrize("data", ["text", 4, b"x" * 10])
def test_what_is_no_piece_or_too_much_is_not_kept(data):
    kept = [["daemon", 1], MAX_BODY - 5]
    with pytest.raises(UsageError, match="a piece is bytes"):
        handed_on(SimpleNamespace(args={"data": data}, pieces=kept), ["daemon", 2])
    assert kept == [["daemon", 1], MAX_BODY - 5]
    bodies = Bodies()
    bodies.keep(["daemon", 1], bytes(MAX_BODY - 5))
    with pytest.raises((UsageError, TypeError)):
        bodies.keep(["daemon", 1], data)
    assert len(bodies.take(["daemon", 1], MAX_BODY - 5)) == MAX_BODY - 5


def test_pieces_are_forgotten():
    bodies, kept = Bodies(), []
    bodies.keep(**handed_on(SimpleNamespace(args={"data": b"ab"}, pieces=kept), ["daemon", 1]))
    assert bodies.keep(**handed_on(SimpleNamespace(args={}, pieces=kept), ["daemon", 2])) == 0
    assert kept == []
    with pytest.raises(Unavailable):
        bodies.take(["daemon", 1], 2)
    assert bodies.keep(**handed_on(SimpleNamespace(args={}, pieces=kept), ["daemon", 2])) == 0
