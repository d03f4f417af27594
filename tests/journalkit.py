"""A journal for tests: a datagram socket that reads what journald would, entry by entry."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
from pathlib import Path

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def parse(data: bytes) -> dict[str, str]:
    """Return the fields of an entry (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""
    fields: dict[str, str] = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + size], data[8 + size : 9 + size], data[9 + size :]
            assert end == b"\n"
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


class JournalStandIn:
    """Takes entries until it is closed.

    Args:
        room: bytes that it has for entries which nobody has read.
    """

    def __init__(self, path: Path, room: int | None = None) -> None:
        self.path = path
        self.entries: list[dict[str, str]] = []
        self.files = 0  # how many entries came in memory files
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if room is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self._socket.bind(str(path))

    def read(self) -> list[dict[str, str]]:
        """Read what has come, and return all entries so far."""
        size = array.array("i").itemsize
        with contextlib.suppress(BlockingIOError):
            while True:
                data, more, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(size))
                self.entries.append(parse(self._file(more[0][2]) if more else data))
        return self.entries

    def messages(self) -> list[str]:
        """Return the messages of all entries so far."""
        return [entry["MESSAGE"] for entry in self.read()]

    def _file(self, packed: bytes) -> bytes:
        (file,) = array.array("i", packed)
        # journald reads none that the sender could still change.
        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == SEALS
        self.files += 1
        data = os.pread(file, os.fstat(file).st_size, 0)
        os.close(file)
        return data

    def close(self) -> None:
        """Be gone, as while journald is replaced."""
        self._socket.close()
        self.path.unlink()
