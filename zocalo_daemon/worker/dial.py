"""How a transport reaches the relay: where its socket is, the hello, and how patiently to try again."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgpack

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol import worker as protocol

FIRST_RETRY = 0.02  # seconds after the second attempt; the first retry is at once
LAST_RETRY = 2.0  # seconds
WELCOME_TIMEOUT = 30.0  # seconds that the relay may take to answer; it may just be starting


_spare: list[msgpack.Unpacker] = []


class Refused(Exception):
    """The relay answered the hello: never."""


def default_socket() -> Path:
    """Return the relay's socket for a plain script: $ZOCALO_RELAY_SOCKET, the user's daemon, the system's."""
    named = os.environ.get("ZOCALO_RELAY_SOCKET")
    if named:
        return Path(named)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime, "zocalo", "relay.sock").exists():
        return Path(runtime, "zocalo", "relay.sock")
    return Path("/run/zocalo/relay.sock")


def prepare() -> None:
    """Make an unpacker that the next line takes.

    A new one fills 40 KiB with zeros. Of one that a forkserver has made a worker writes to a page or two.
    """
    _spare.append(protocol.decoder())


def dial(line: socket.socket, path: Path | str, hello: bytes, timeout: float) -> msgpack.Unpacker:
    """Connect a socket and say hello; return the unpacker for what follows the welcome.

    Args:
        timeout: seconds for each step.

    Raises:
        OSError: nobody is there, or no answer came in time.
        Refused: the relay does not want this transport.
        ProtocolError: it is no relay.
    """
    line.settimeout(timeout)
    line.connect(os.fspath(path))
    line.sendall(hello)
    unpacker = _spare.pop() if _spare else protocol.decoder()
    # The listening socket outlives the relay, so connecting says nothing: only the welcome does.
    while not _is_welcome(protocol.frames(unpacker, _read(line))):
        pass
    line.settimeout(None)
    return unpacker


def _read(line: socket.socket) -> bytes:
    data = line.recv(4096)
    if not data:
        raise ConnectionResetError("it closed the connection")
    return data


def _is_welcome(frames: list[protocol.Frame]) -> bool:
    for frame in frames:
        if frame[0] == protocol.WELCOME:
            return True
        if frame[0] == protocol.FAILED:
            raise Refused(str(frame[-1]))
        raise ProtocolError("the first frame is no welcome")
    return False


class Retry:
    """Delays between attempts: none, then doubling with jitter, so that workers do not come all at once."""

    def __init__(self) -> None:
        self._next = 0.0

    def delay(self) -> float:
        """Return the seconds to wait before the next attempt."""
        delay, self._next = self._next, min(LAST_RETRY, max(FIRST_RETRY, self._next * 2))
        return delay * random.uniform(0.5, 1.0)


def dial_until(deadline: float, attempt: Callable[[float], socket.socket]) -> socket.socket:
    """Attempt again and again; return the first line that stands.

    Args:
        deadline: monotonic seconds; an attempt that fails after it is the last one.
        attempt: dials once, within so many seconds, and raises what `dial` does.

    Raises:
        Refused: at once, for a relay that refuses does not change its mind.
        OSError, ProtocolError: that of the last attempt.
    """
    retry = Retry()
    while True:
        remaining = deadline - time.monotonic()
        try:
            return attempt(min(WELCOME_TIMEOUT, max(0.1, remaining)))
        except (OSError, ProtocolError):
            if remaining <= 0:
                raise
        time.sleep(min(retry.delay(), max(0.0, remaining)))


def reason_of(problem: Exception) -> str:
    """Return why the relay could not be reached, in a few words."""
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem) or "no answer"
