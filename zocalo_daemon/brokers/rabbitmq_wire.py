"""The two things that AMQP carries most: a delivery that comes, a message that goes (pure).

pika can do both, and takes more than half of the relay's time for it: several objects for each frame, three
frames for each message. What is not a whole delivery at one place is left to pika, as is all the rest.

A message is a method frame, a header frame and body frames. A frame is its type (u8), channel (u16), size
(u32), payload, and 0xCE (AMQP 0-9-1, 4.2.3 and 4.2.6).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MALFORMED = (struct.error, IndexError)  # what `read` may raise
Table = Callable[[bytes, int], tuple[dict[str, Any], int]]  # decodes the one at an offset

_METHOD, _HEADER, _BODY = 1, 2, 3
_HEAD = struct.Struct(">BHL")
_END = b"\xce"
_AROUND = _HEAD.size + len(_END)
_BASIC = 60  # class of both methods
_DELIVER, _PUBLISH = struct.pack(">HH", _BASIC, 60), struct.pack(">HHH", _BASIC, 40, 0)
_TAG = struct.Struct(">Q?")  # delivery tag, redelivered
_CONTENT = struct.Struct(">HHQ")  # class, weight, size of the body
_FLAGS = struct.Struct(">H")
_TYPE, _ENCODING, _HEADERS, _MODE, _MORE = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1  # flags of properties
_PREFIX = ord("A")  # of the protocol header with which a broker refuses the version
_LARGE = 256 * 1024  # bytes of a body for which pika collects the frames


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came.

    Args:
        properties: its basic.properties, if it has more than headers and a delivery mode: encoded, or as
            pika has read them. Only few who get it need them (`properties_of_arrival`).
    """

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    headers: dict[str, Any]
    body: bytes
    properties: Any = None

    @classmethod
    def of(cls, method: Any, properties: Any, body: bytes) -> Arrival:
        """Return what pika has collected."""
        return cls(
            method.delivery_tag,
            bool(method.redelivered),
            method.exchange,
            method.routing_key,
            properties.headers or {},
            body,
            properties,
        )


def read(
    data: bytes, table: Table, deliver: Callable[[int, Arrival], None], other: Callable[[bytes], None]
) -> int:
    """Pass on what is complete, in order.

    Args:
        deliver: takes a channel and what came on it.
        other: takes the bytes of a frame.

    Returns:
        How many bytes that was; the rest must come again with what follows it.
    """
    at, size = 0, len(data)
    while size - at >= _AROUND:
        kind, channel, length = _HEAD.unpack_from(data, at)
        if kind == _PREFIX:
            other(data[at:])
            return size
        end = at + length + _AROUND
        if end > size:
            break
        if kind == _METHOD and data.startswith(_DELIVER, at + _HEAD.size):
            last = _end_of_content(data, channel, end)
            if last < 0:
                break
            if last:
                deliver(channel, _arrival(data, at + _HEAD.size + len(_DELIVER), end, last, table))
                at = last
                continue
        other(data[at:end])
        at = end
    return at


def _end_of_content(data: bytes, channel: int, at: int) -> int:
    """Return where a message ends whose header frame begins here: -1 if that is not known yet, 0 for pika."""
    size = len(data)
    if size - at < _HEAD.size + _CONTENT.size:
        return -1
    kind, number, length = _HEAD.unpack_from(data, at)
    left = _CONTENT.unpack_from(data, at + _HEAD.size)[2]
    if (kind, number) != (_HEADER, channel) or left > _LARGE:
        return 0
    at += length + _AROUND
    while left > 0:
        if size - at < _HEAD.size:
            return -1
        kind, number, length = _HEAD.unpack_from(data, at)
        if (kind, number) != (_BODY, channel):
            return 0
        at += length + _AROUND
        left -= length
    return at if at <= size else -1


def _arrival(data: bytes, at: int, header: int, last: int, table: Table) -> Arrival:
    at += 1 + data[at]  # the tag of the consumer
    tag, redelivered = _TAG.unpack_from(data, at)
    exchange, at = _text(data, at + _TAG.size)
    key, _ = _text(data, at)
    length = _HEAD.unpack_from(data, header)[2]
    start = header + _HEAD.size + _CONTENT.size
    headers, more = _headers(data, start, table)
    at = header + length + _AROUND
    properties = data[start : at - len(_END)] if more else None
    bodies = []
    while at < last:
        length = _HEAD.unpack_from(data, at)[2]
        bodies.append(data[at + _HEAD.size : at + _HEAD.size + length])
        at += length + _AROUND
    body = bodies[0] if len(bodies) == 1 else b"".join(bodies)
    return Arrival(tag, redelivered, exchange, key, headers, body, properties)


def _headers(data: bytes, at: int, table: Table) -> tuple[dict[str, Any], bool]:
    """Return the headers, and whether there are other properties that a dead letter keeps."""
    flags = more = _FLAGS.unpack_from(data, at)[0]
    at += _FLAGS.size
    while more & _MORE:
        more = _FLAGS.unpack_from(data, at)[0]
        at += _FLAGS.size
    for flag in (_TYPE, _ENCODING):
        if flags & flag:
            at += 1 + data[at]
    return table(data, at)[0] if flags & _HEADERS else {}, bool(flags & ~(_HEADERS | _MODE))


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="replace"), end


def message(
    channel: int, exchange: str, key: str, properties: bytes, body: bytes, *, mandatory: bool, limit: int
) -> bytes:
    """Return the frames of a message.

    Args:
        properties: encoded, with their flags.
        limit: bytes that one frame carries.

    Raises:
        ValueError: a name that AMQP cannot carry, or headers that would take more than a frame: the broker
            would end the connection.
    """
    method = b"".join((_PUBLISH, _short(exchange), _short(key), b"\x01" if mandatory else b"\x00"))
    header = _CONTENT.pack(_BASIC, 0, len(body)) + properties
    if len(header) > limit:
        raise ValueError(f"headers of {len(header)} bytes, {limit} is the limit")
    parts = [_HEAD.pack(_METHOD, channel, len(method)), method, _END]
    parts += (_HEAD.pack(_HEADER, channel, len(header)), header, _END)
    for start in range(0, len(body), limit):
        piece = body[start : start + limit]
        parts += (_HEAD.pack(_BODY, channel, len(piece)), piece, _END)
    return b"".join(parts)


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"'{text[:20]}…' is longer than 255 bytes")
    return bytes((len(data),)) + data
