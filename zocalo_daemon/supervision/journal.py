"""The journal of systemd, with fields: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/

python-systemd needs a compiler and the headers of libsystemd, and waits when the journal does not read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from collections.abc import Iterator, Mapping

from zocalo_daemon.supervision.outlets import LogMessage, Outlet, priority

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "zocalod"

# systemd.journal-fields(7); of others the name in capitals, behind ZOCALO_ unless it is one of workflows.
_NAMES = {
    "pathname": "CODE_FILE",
    "lineno": "CODE_LINE",
    "funcName": "CODE_FUNC",
    "logger": "LOGGER",
}
_LONGEST_NAME = 64
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_UNFIT = re.compile(r"[^A-Z0-9_]")


def is_stream(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Return whether a descriptor leads to the journal ($JOURNAL_STREAM, systemd.exec(5))."""
    about = os.fstat(descriptor)
    return environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


def entry(message: LogMessage) -> bytes:
    """Return a message as the journal takes it."""
    return b"".join(_field(name, value) for name, value in _fields(message))


def _fields(message: LogMessage) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", f"{message.source}: {message.text}"
    yield "PRIORITY", str(priority(message.level))
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    for key, value in message.known().items():
        if value is not None:
            yield _name(key), str(value)


def _name(key: str) -> str:
    known = _NAMES.get(key)
    if known:
        return known
    name = _UNFIT.sub("_", key.upper())
    return (name if name.startswith("WORKFLOWS_") else f"ZOCALO_{name}")[:_LONGEST_NAME]


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")
    if b"\n" in data:  # then the length goes first
        return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%s=%s\n" % (name.encode(), data)


class Journal:
    """The journal's socket.

    Args:
        path: of the socket.
        otherwise: what takes messages while there is no such socket.
    """

    def __init__(self, path: str, otherwise: Outlet | None) -> None:
        self._path, self._otherwise = path, otherwise
        self._socket: socket.socket | None = None

    def write(self, message: LogMessage) -> bool:
        """Send one message; False if the journal does not take it at once."""
        data = entry(message)
        try:
            if self._socket is None:
                self._connect()
            self._send(data)
        except BlockingIOError:
            return False
        except OSError:  # journald is not there; the next message looks for it again
            self.close()
            return self._otherwise is not None and self._otherwise.write(message)
        return True

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.connect(self._path)

    def _send(self, data: bytes) -> None:
        assert self._socket
        try:
            self._socket.send(data)
        except OSError as e:
            if e.errno not in _TOO_LARGE:
                raise
            self._send_file(data)

    def _send_file(self, data: bytes) -> None:
        """Send what no datagram holds, in a sealed memory file."""
        assert self._socket
        file = os.memfd_create("zocalod-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(file, "wb", closefd=False) as writer:
                writer.write(data)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            socket.send_fds(self._socket, [b""], [file])
        finally:
            os.close(file)
