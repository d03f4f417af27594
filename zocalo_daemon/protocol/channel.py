"""Messages between the supervisor, its forkservers and its workers.

Each pair of processes shares a Unix SOCK_SEQPACKET socket pair: one datagram is one msgpack map, so that a
message is written whole or not at all and a full channel can neither block a worker nor tear a message.

Supervisor to forkserver:
    {"do": "fork", "id": "spotfinder/0", "serial": 7, "worker": {...}}
                        with two descriptors, the worker's channel and the write end of its log pipe; `worker`
                        holds service, relay (socket path), first_relay (that of the relay with all
                        transports, if it is another), secret (shown to the relay), transport, trail
                        ({"directory": of its files, "part": bytes of one}, protocol/trail.py),
                        environment, verbose, nice, title, max_messages, max_rss (bytes; nil: no limit),
                        of identity those that are set: ionice, umask, user, group, working_directory,
                        board (number of its entry, protocol/board.py; 0: it has none), confined: {"groups":
                        [directories of control groups to make and enter], "unified": the first one is of
                        version 2, "settings": [[file, text]] to write once it is in them, "rlimits":
                        {"open_files": number, "memory": bytes}}
    {"do": "exit"}
Forkserver to supervisor:
    {"event": "loaded", "classes": {service: {"class", "fingerprint"} | {"error"}}, "python": "3.11.7",
     "workflows": version, "warnings": [text]}
    {"event": "forked", "serial": 7, "pid": 4711}
    {"event": "fork-failed", "serial": 7, "error": text, "refused": true if the machine has no room for it}
    {"event": "failed", "error": text}                  it cannot start at all; it exits after that

Supervisor to worker:
    {"do": "drain"}                 finish the delivery in hand, settle, in_shutdown(), exit 0
    {"do": "limits", "max_messages", "max_rss"}    others than in the request, from now on
Worker to supervisor:
    {"event": "ready", "name": what the service calls itself}
                                    initializing() has returned and its subscriptions stand
    {"event": "name", "name": text} the service changed its name
    {"event": "state", "state": text}    "stopping"
    {"event": "terminate"}          the service asked to be terminated
    {"event": "spent", "why": text}      it has done enough: "10,000 messages", "RSS 2.1 GiB"
    {"event": "log", "level", "logger", "message", "time", "extra", "where", "dropped"}
                                    level: number of Python's logging; time: seconds since the epoch;
                                    extra: map of plain values; where: path, line and
                                    function; dropped: records lost since the last one
    {"event": "trail", "lines": bytes}   of a worker whose user may not write them to the trail itself
    {"event": "error", "error", "kind", "traceback"}
                                    why it ends: one line, the name of the exception, and where it came from
"""

from __future__ import annotations

import signal
from typing import Any

import msgpack

from zocalo_daemon.errors import ProtocolError

TRACE = signal.SIGRTMAX - 4  # the signal that has a worker write where each of its threads is
CUT_OFF = 75  # exit status of a worker that has lost its channel: nobody would supervise it
MAX_MESSAGE = 64 * 1024  # bytes; well under the default socket buffer of Linux

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """Return the datagram of a message.

    Raises:
        ProtocolError: it cannot be packed or is over MAX_MESSAGE.
    """
    try:
        data: bytes = msgpack.packb(message, use_bin_type=True, default=str)
    except (TypeError, ValueError, OverflowError, RecursionError) as e:
        raise ProtocolError(f"this message cannot be sent: {e}") from None
    if len(data) > MAX_MESSAGE:
        raise ProtocolError(f"a message of {len(data)} bytes is over the limit of {MAX_MESSAGE}")
    return data


def decode(data: bytes) -> Message:
    """Return the message of a datagram.

    Raises:
        ProtocolError: it is no msgpack map.
    """
    try:
        message = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except Exception as e:  # msgpack raises many kinds, some of them plain ValueError or RecursionError
        raise ProtocolError(f"a message is not valid msgpack: {type(e).__name__}") from None
    if not isinstance(message, dict):
        raise ProtocolError("a message must be a map")
    return message
