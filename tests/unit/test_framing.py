"""Frames of the control socket and of the link to the relay."""

import struct

import msgpack
import pytest

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol.framing import MAX_FRAME, Decoder, encode


def framed(payload):
    return struct.pack(">I", len(payload)) + payload


def decode(data, **options):
    return list(Decoder(**options).feed(data))


def test_a_frame_is_its_length_and_a_map():
    assert encode({"a": 1}) == b"\x00\x00\x00\x04\x81\xa1a\x01"


def test_several_frames_at_once():
    frames = [{"n": i, "body": b"\x00\xff", "text": "ü"} for i in range(5)]
    assert decode(b"".join(map(encode, frames))) == frames


def test_byte_by_byte():
    decoder = Decoder()
    got = [frame for byte in encode({"a": [1, None, 2.5]}) for frame in decoder.feed(bytes([byte]))]
    assert got == [{"a": [1, None, 2.5]}]


def test_half_a_frame_is_no_frame_yet():
    data = encode({"a": 1})
    decoder = Decoder()
    assert list(decoder.feed(data[:-1])) == []
    assert list(decoder.feed(data[-1:])) == [{"a": 1}]


def test_a_frame_of_the_largest_size_is_taken():
    assert decode(encode({"a": bytes(MAX_FRAME - 8)}))[0]["a"] == bytes(MAX_FRAME - 8)


def test_an_oversized_length_is_refused_before_the_payload_comes():
    with pytest.raises(ProtocolError, match="over the limit of 4194304"):
        decode(struct.pack(">I", MAX_FRAME + 1))


def test_an_oversized_frame_is_not_encoded():
    with pytest.raises(ProtocolError, match="over the limit of 100"):
        encode({"a": bytes(100)}, limit=100)


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**64, "\ud800"])
def test_a_value_that_msgpack_lacks_is_not_encoded(value):
    with pytest.raises(ProtocolError, match="cannot be sent"):
        encode({"a": value})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x81\xa1a\x01\x00",
        msgpack.packb([1, 2]),
        msgpack.packb("text"),
        msgpack.packb({1: 2}),
        msgpack.packb({b"bytes": 2}),
        b"\x81\xa1a\xa1\xff",  # text that is not UTF-8
        b"\x91" * 5000 + b"\xc0",  # nested too deeply
    ],
)
def test_what_is_no_map_with_string_keys_is_refused(payload):
    with pytest.raises(ProtocolError):
        decode(framed(payload))


@pytest.mark.parametrize("code", [0, 1, 127])
def test_extension_types_are_refused(code):
    with pytest.raises(ProtocolError, match="extension"):
        decode(framed(msgpack.packb({"a": msgpack.ExtType(code, b"12345678")})))


@pytest.mark.parametrize(
    "stamp",
    [
        b"\xd6\xff" + bytes(4),
        b"\xd7\xff" + bytes(8),
        b"\xc7\x04\xff" + bytes(4),
        b"\xc7\x08\xff" + bytes(8),
        b"\xc7\x0c\xff" + bytes(12),
        b"\xc8\x00\x0c\xff" + bytes(12),
        b"\xc9\x00\x00\x00\x0c\xff" + bytes(12),
    ],
)
@pytest.mark.parametrize("around", [b"\x81\xa1a", b"\x81\xa1a\x91", b"\x81\xa1a\x81\xa1b\x92\x01"])
def test_timestamps_are_refused_however_deep(stamp, around):
    with pytest.raises(ProtocolError, match="extension"):
        decode(framed(around + stamp))


def test_bytes_that_only_look_like_a_timestamp_pass():
    frame = {"a": b"\xd6\xff\xd7\xff\x0c\xff", "b": [{"c": b"\x0c\xff"}]}
    assert decode(encode(frame)) == [frame]


def test_deep_nesting_with_such_bytes_does_not_break():
    data = b"\x81\xa1a" + b"\x91" * 900 + b"\xc4\x02\xd6\xff"
    assert len(decode(framed(data))) == 1
