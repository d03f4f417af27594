"""One connected transport: frames in and out of its socket."""

from __future__ import annotations

import socket
import struct

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.worker import Frame
from zocalo_daemon.relay.line import Line

OUTPUT_LIMIT = 1024 * 1024  # bytes waiting for a worker that does not read, after which it gets no more
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


def peer(line: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process that connected (unix(7), SO_PEERCRED)."""
    data = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return pid, uid, gid


class Channel(Line):
    """The line to one transport.

    Args:
        line: the connected socket; the channel owns it from here on.
    """

    def __init__(self, line: socket.socket) -> None:
        super().__init__(line)
        self._unpacker = protocol.decoder()

    def receive(self) -> list[Frame]:
        """Return the frames of one read.

        Raises:
            Closed: the peer is gone.
            ProtocolError: it does not speak the protocol.
        """
        return protocol.frames(self._unpacker, self.read())

    def send(self, frame: Frame) -> None:
        """Have a frame sent by the next `flush`.

        Raises:
            ProtocolError: it cannot be packed.
        """
        self.write(protocol.encode(frame))

    @property
    def is_congested(self) -> bool:
        """Whether the peer should get nothing new for now."""
        return self.pending > OUTPUT_LIMIT
