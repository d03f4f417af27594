"""Frames between transport and relay: any chunking gives the same, garbage gives only ProtocolError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol import worker

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
frame = st.tuples(st.integers(0, 39), st.lists(values, max_size=5)).map(lambda t: [t[0], *t[1]])


@given(st.lists(frame, max_size=6), st.data())
def test_any_chunking_gives_the_same_frames(frames, data):
    stream = b"".join(map(worker.encode, frames))
    unpacker = worker.decoder()
    received = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += worker.frames(unpacker, stream[:size])
        stream = stream[size:]
    assert received == frames


@given(st.binary(max_size=200))
def test_garbage_gives_only_protocol_errors(data):
    unpacker = worker.decoder()
    try:
        frames = worker.frames(unpacker, data)
    except ProtocolError:
        return
    assert all(type(f) is list and type(f[0]) is int for f in frames)


@pytest.mark.parametrize("data", [b"\x01", b"\x80", b"\x90", b"\x91\xa1a", b"\xc1", b"\x91\xc3"])
def test_what_is_no_frame(data):
    with pytest.raises(ProtocolError):
        worker.frames(worker.decoder(), data)


def test_a_frame_over_the_limit():
    unpacker = worker.decoder(1000)
    with pytest.raises(ProtocolError):
        for _ in range(3):
            worker.frames(unpacker, worker.encode([4, bytes(900)])[:-1])


@pytest.mark.parametrize("value", [object(), 2**70, {1: object()}])
def test_what_cannot_be_packed_harms_nothing(value):
    with pytest.raises(ProtocolError):
        worker.encode([4, value])
    assert worker.frames(worker.decoder(), worker.encode([4])) == [[4]]
