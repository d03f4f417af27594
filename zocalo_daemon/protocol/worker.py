"""Frames between a transport (in a worker, or in a plain script) and the relay.

Each frame is one msgpack array whose first element is its kind; frames follow each other without a prefix.
The transport connects to the relay's Unix stream socket and sends HELLO; the relay answers WELCOME, and
either side closes the connection on a frame that it cannot read.

From the transport (req and seq are numbers that the transport chooses, increasing within a connection):

    HELLO        version, worker ("dispatcher/0", "" for a script), pid, client (unique text), transport (""),
                 secret (of the fork request; "" or left out by a script)
    SUBSCRIBE    req, sub, kind, name, options     answered by DONE (value: real name) or FAILED
    UNSUBSCRIBE  req, sub                          answered by DONE
    SEND         seq, wait, publication            with wait, answered by CONFIRMED or REFUSED
    ACK          sub, delivery, multiple
    NACK         sub, delivery, multiple, requeue  true: again; nil: dead-letter; a text: the same, and why
    COMMIT       seq, wait, publications, settlements     all of it or nothing
    RELEASED     sub, deliveries                   handed back untouched, answer to RECALL or at unsubscribe
    FLUSH        req                               answered by DONE once everything before is settled

From the relay:

    WELCOME      version, epoch                    epoch: which life of the relay this is
    DONE         req, value
    FAILED       req, code, text
    CONFIRMED    seq
    REFUSED      seq, code, text                   code "unroutable" | "full" | "invalid" | "failed"
    DELIVER      sub, delivery, redelivered, headers, body, routing key, exchange
    RECALL       sub                               give back what no callback has seen yet
    CANCELLED    sub, text                         the broker ended this subscription

A publication is [kind, destination, headers, body, options]: kind QUEUE or TOPIC, headers a map, body bytes,
options a map with any of delay, expiration (seconds), exchange, priority, persistent, ignore_namespace.
A settlement is [kind, sub, delivery, multiple, requeue] with kind ACK or NACK.
Options of SUBSCRIBE: ack, prefetch (0: adaptive), exclusive, priority, retroactive, selector,
ignore_namespace.
`delivery` is unique over all lives of the relay, so that a late ack never hits another message.
"""

from __future__ import annotations

from typing import Any

import msgpack

from zocalo_daemon.errors import ProtocolError

VERSION = 1
MAX_FRAME = 64 * 1024 * 1024  # bytes; one message and its headers, or one transaction

# Kinds of destination
QUEUE, TOPIC, TEMPORARY = 0, 1, 2

# From the transport
HELLO, SUBSCRIBE, UNSUBSCRIBE, SEND, ACK, NACK, COMMIT, RELEASED, FLUSH = range(1, 10)
# From the relay
WELCOME, DONE, FAILED, CONFIRMED, REFUSED, DELIVER, RECALL, CANCELLED = range(32, 40)

Frame = list[Any]

packer = msgpack.Packer(use_bin_type=True)


def encode(frame: Frame) -> bytes:
    """Return the bytes of one frame.

    Raises:
        ProtocolError: it cannot be packed (a header of a type that no broker could carry).
    """
    try:
        data: bytes = packer.pack(frame)
    except (TypeError, ValueError, OverflowError) as e:
        packer.reset()
        raise ProtocolError(f"this message cannot be sent: {e}") from None
    return data


def decoder(limit: int = MAX_FRAME) -> msgpack.Unpacker:
    """Return an unpacker for a stream of frames: `feed` it and iterate, with `frames`."""
    return msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=limit, use_list=True)


def frames(unpacker: msgpack.Unpacker, data: bytes) -> list[Frame]:
    """Return the frames that are complete once `data` has arrived.

    Raises:
        ProtocolError: bytes that are no msgpack array with a number first, or a frame over the limit.
    """
    try:
        unpacker.feed(data)
        complete = list(unpacker)
    except Exception as e:  # msgpack raises many kinds, BufferFull and plain ValueError among them
        raise ProtocolError(f"not a stream of msgpack frames: {type(e).__name__}") from None
    for frame in complete:
        if type(frame) is not list or not frame or type(frame[0]) is not int:
            raise ProtocolError("a frame must be an array that begins with its kind")
    return complete
