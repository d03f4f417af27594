"""A socket of the relay's loop: what has arrived, and what waits to be written; nothing here blocks."""

from __future__ import annotations

import socket

READ_SIZE = 256 * 1024  # bytes at once, so that nobody keeps the others waiting


class Closed(Exception):
    """The peer is gone."""


class Line:
    """A non-blocking stream socket with its output.

    Args:
        line: the connected socket; it belongs to this object from here on.
    """

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line = line
        self._out = bytearray()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._line.fileno()

    @property
    def pending(self) -> int:
        """Bytes that wait for the peer to read."""
        return len(self._out)

    def read(self) -> bytes:
        """Read once; b"" if nothing has arrived.

        Raises:
            Closed: the peer is gone.
        """
        try:
            data = self._line.recv(READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError:
            raise Closed from None
        if not data:
            raise Closed
        return data

    def write(self, data: bytes) -> None:
        """Have bytes sent by the next `flush`."""
        self._out += data

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

    def close(self) -> None:
        """Close the socket."""
        self._line.close()
