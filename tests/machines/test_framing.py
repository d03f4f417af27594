"""Whatever the chunking, the same frames come out; whatever the garbage, only ProtocolError."""

import itertools
import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol.framing import Decoder, encode

# The first example of a session imports and compiles; a busy machine is no reason to fail.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
frames = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), values, max_size=5)


def chunks(data, cuts):
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@patient
@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_chunking_gives_the_same_frames(sent, cuts):
    data = b"".join(map(encode, sent))
    decoder = Decoder()
    assert [frame for chunk in chunks(data, cuts) for frame in decoder.feed(chunk)] == sent


def consume(data, cuts):
    decoder = Decoder(limit=1000)
    try:
        for chunk in chunks(data, cuts):
            for frame in decoder.feed(chunk):
                assert type(frame) is dict
                assert all(type(key) is str for key in frame)
                encode(frame)  # nothing that could not be sent itself comes out
    except ProtocolError:
        pass


@patient
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_gives_only_protocol_errors(data, cuts):
    consume(data, cuts)


@patient
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_of_the_right_length_gives_only_protocol_errors(payload, cuts):
    consume(struct.pack(">I", len(payload)) + payload, cuts)


@patient
@given(frames, st.integers(0, 10_000), st.binary(min_size=1, max_size=6))
def test_a_damaged_frame_gives_only_protocol_errors(frame, place, damage):
    data = bytearray(encode(frame))
    place %= len(data)
    data[place : place + len(damage)] = damage
    consume(bytes(data), [place])
