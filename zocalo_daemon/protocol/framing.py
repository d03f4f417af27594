"""Length-prefixed msgpack maps.

A frame is its length as an unsigned 32-bit big-endian integer, then one msgpack map with string keys and
no extension types. The decoder takes bytes in any chunking and either yields the same maps or raises
ProtocolError; after an error it must not be used again.
"""

from __future__ import annotations

import struct

import msgpack

from zocalo_daemon.errors import ProtocolError

TYPE_CHECKING = False  # typing takes 3 ms to load, which zocaloctl does not have
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_FRAME = 4 * 1024 * 1024  # bytes of payload, on the control socket
_LENGTH = struct.Struct(">I")

Frame = dict[str, "Any"]


def encode(frame: Frame, limit: int = MAX_FRAME) -> bytes:
    """Return the bytes of one frame.

    Raises:
        ProtocolError: the map cannot be packed, or takes more than `limit` bytes.
    """
    try:
        payload: bytes = msgpack.packb(frame, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as e:
        raise ProtocolError(f"this value cannot be sent: {e}") from None
    if len(payload) > limit:
        raise ProtocolError(f"a frame of {len(payload)} bytes is over the limit of {limit}")
    return _LENGTH.pack(len(payload)) + payload


class Decoder:
    """Turns a stream of bytes into frames: call `feed`, iterate over what it returns to the end."""

    def __init__(self, limit: int = MAX_FRAME, rest: bytes = b"") -> None:
        self._limit = limit
        self._buffer = bytearray(rest)

    @property
    def rest(self) -> bytes:
        """What has arrived and was not yielded yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that is complete once `data` has arrived.

        Raises:
            ProtocolError: an oversized length, bytes that are no msgpack, or no map with string keys.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._limit:
                raise ProtocolError(f"a frame of {length} bytes is over the limit of {self._limit}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _unpack(payload)


def _unpack(payload: bytes) -> Frame:
    try:
        frame = msgpack.unpackb(payload, raw=False, strict_map_key=True, ext_hook=_no_extension)
    except ProtocolError:
        raise
    except Exception as e:  # msgpack raises many kinds, some of them plain ValueError or RecursionError
        raise ProtocolError(f"a frame is not valid msgpack: {type(e).__name__}") from None
    if any(mark in payload for mark in _TIMESTAMP_MARKS):
        _refuse_timestamps(frame)
    if not isinstance(frame, dict) or not all(isinstance(key, str) for key in frame):
        raise ProtocolError("a frame must be a map with string keys")
    return frame


# msgpack decodes its own extension type -1 without asking ext_hook. Its headers (fixext 4, fixext 8, and the
# end of those with a length of 12) show whether a frame can hold one at all, so that others need no search.
_TIMESTAMP_MARKS = (b"\xd6\xff", b"\xd7\xff", b"\x04\xff", b"\x08\xff", b"\x0c\xff")


def _refuse_timestamps(value: Any) -> None:
    rest = [value]
    while rest:  # not by recursion: msgpack allows deeper nesting than Python does
        item = rest.pop()
        if isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)
        elif isinstance(item, msgpack.Timestamp):
            _no_extension(-1, b"")


def _no_extension(code: int, _data: bytes) -> None:
    raise ProtocolError(f"a frame holds the extension type {code}, which is not allowed")
