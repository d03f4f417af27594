"""A list of dead letters fits into one frame."""

from types import SimpleNamespace

import pytest

from zocalo_daemon.control.letters import ROOM, fitted, gather, joined
from zocalo_daemon.errors import Unavailable
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


def test_a_piece_says_what_is_missing_behind_it():
    piece = {"id": 1, "body": b"x" * 10, "from": 5, "size": 40}
    assert fitted([piece], 10) == [{**piece, "cut": 25}]
    assert fitted([piece], 4)[0]["cut"] == 31
    assert fitted([{**piece, "from": 30}], 10)[0]["cut"] == 0


def test_whatever_it_is_fits_into_a_frame():
    found = fitted(letters(*[40_000] * 999, 10 * MAX_FRAME))
    assert sum(bodies(found)) <= ROOM
    encode({"id": 1, "ok": found})


def test_what_several_relays_have_is_one_answer():
    assert joined([{"id": 1}], []) == [{"id": 1}]
    assert joined([{"id": 1}], [[{"id": 2}], [{"id": 3}]]) == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert joined({"count": 1}, [{"count": 2}]) == {"count": 3}


def test_the_other_relays_are_asked_for_their_spools_alone():
    asked, got, errors = [], [], []

    def relay(op, args, answer, again):
        asked.append((op, args, again))
        if len(asked) == 2:
            raise Unavailable("the relay 2 does not run")
        answer(["letter"], None)

    request = SimpleNamespace(op="dlq.list", args={"queues": ["a"]}, error=errors.append)
    gather([SimpleNamespace(request=relay)] * 3, request, got.append)
    assert asked == [("dlq.list", {"queues": ["a"], "spools": True}, False)] * 3
    assert got == [[["letter"], ["letter"]]]

    def refuse(_found):
        raise Unavailable("the relay does not start")

    with pytest.raises(Unavailable):
        gather([], request, refuse)
    gather([SimpleNamespace(request=relay)], request, refuse)
    assert [str(e) for e in errors] == ["the relay does not start"]
