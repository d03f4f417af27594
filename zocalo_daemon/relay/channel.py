"""One connected transport: bytes in and out of its socket, bounded both ways."""

from __future__ import annotations

import socket
import struct

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.worker import Frame

READ_SIZE = 256 * 1024  # bytes at once, so that no worker keeps the others waiting
OUTPUT_LIMIT = 1024 * 1024  # bytes waiting for a worker that does not read, after which it gets no more
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


class Closed(Exception):
    """The peer is gone."""


def peer(line: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process that connected (unix(7), SO_PEERCRED)."""
    data = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return pid, uid, gid


class Channel:
    """A non-blocking socket to one transport.

    Args:
        line: the connected socket; the channel owns it from here on.
    """

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line = line
        self._unpacker = protocol.decoder()
        self._out = bytearray()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._line.fileno()

    def receive(self) -> list[Frame]:
        """Return the frames of one read.

        Raises:
            Closed: the peer is gone.
            ProtocolError: it does not speak the protocol.
        """
        try:
            data = self._line.recv(READ_SIZE)
        except BlockingIOError:
            return []
        except OSError:
            raise Closed from None
        if not data:
            raise Closed
        return protocol.frames(self._unpacker, data)

    def send(self, frame: Frame) -> None:
        """Have a frame sent by the next `flush`.

        Raises:
            ProtocolError: it cannot be packed.
        """
        self._out += protocol.encode(frame)

    def flush(self) -> None:
        """Write what the socket takes.

        Raises:
            Closed: the peer is gone.
        """
        while self._out:
            try:
                sent = self._line.send(self._out)
            except BlockingIOError:
                return
            except OSError:
                raise Closed from None
            del self._out[:sent]

    @property
    def pending(self) -> int:
        """Bytes that wait for the peer to read."""
        return len(self._out)

    @property
    def is_congested(self) -> bool:
        """Whether the peer should get nothing new for now."""
        return len(self._out) > OUTPUT_LIMIT

    def close(self) -> None:
        """Close the socket."""
        self._line.close()
