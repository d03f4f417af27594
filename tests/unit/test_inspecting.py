"""What a relay tells of dead letters: no more than was asked for, and in pieces."""

import pytest

from zocalo_daemon.brokers.inspector import DeadLetter, QueueInfo
from zocalo_daemon.errors import UsageError
from zocalo_daemon.relay import inspecting


class Inspector:
    """Has letters of one queue, and counts what was read."""

    def __init__(self, *bodies):
        self.bodies, self.read, self.closed = bodies, 0, False

    def queues(self):
        return [QueueInfo("dlq.a", 1, 0, 0, 0, True)]

    def walk(self, queue, after=0):
        try:
            for number, body in enumerate(self.bodies, 1):
                self.read += 1
                yield DeadLetter(number, queue, "a", "", 0.0, {}, body)
        finally:
            self.closed = True


def told(inspector, **args):
    found = inspecting.dead_letters("t", inspector, args)
    return [(one["id"], one["body"]) for one in found]


def test_no_more_is_read_than_is_told():
    inspector = Inspector(*[b"x"] * 50)
    assert told(inspector, limit=2) == [(1, b"x"), (2, b"x")]
    assert (inspector.read, inspector.closed) == (2, True)
    inspector = Inspector(*[b"x"] * 50)
    assert told(inspector, ids=[3], limit=1) == [(3, b"x")]
    assert inspector.read == 3


def test_large_letters_end_the_answer_and_the_first_is_always_told(monkeypatch):
    monkeypatch.setattr(inspecting, "LIST_BYTES", 100)
    inspector = Inspector(*[bytes(60)] * 50)
    assert [number for number, _ in told(inspector)] == [1]
    assert inspector.read == 2
    assert [number for number, _ in told(Inspector(bytes(200), b""))] == [1]


def test_a_body_in_pieces(monkeypatch):
    monkeypatch.setattr(inspecting, "PIECE", 4)
    inspector = Inspector(b"0123456789")
    pieces = [inspecting.dead_letters("t", inspector, {"ids": [1], "from": start})[0] for start in (0, 4, 8)]
    assert [one["body"] for one in pieces] == [b"0123", b"4567", b"89"]
    assert {one["size"] for one in pieces} == {10}
    assert [one["from"] for one in pieces] == [0, 4, 8]
    (first,) = inspecting.dead_letters("t", inspector, {})
    assert (first["body"], first["size"]) == (b"0123", 10)


def test_properties_of_a_message():
    given = {"priority": 7, "delivery_mode": 1, "content_type": "text/plain", "timestamp": 5}
    assert inspecting.properties({"properties": given}) == {
        "priority": 7,
        "persistent": False,
        "properties": {"content_type": "text/plain", "timestamp": 5},
    }
    assert inspecting.properties({}) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"nothing": "x"}, {"priority": "7"}, {"priority": 256}, {"priority": True}, {"timestamp": -1},
        {"content_type": 5}, {"content_type": "x" * 256}, {"user_id": "guest"}, [1], {5: "x"},
    ],
)  # fmt: skip
def test_properties_that_no_message_has(wrong):
    with pytest.raises(UsageError):
        inspecting.properties({"properties": wrong})
