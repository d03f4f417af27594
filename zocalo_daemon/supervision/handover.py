"""What the supervisor leaves to its own new code over execve(2): a document in a memory file, descriptors.

Descriptors keep their numbers. The old code lists them in a `Leaving`; the new code takes each from
`Arrived`, which sees that it is what it should be. For the rehearsal, where none of them has been inherited,
`Rehearsed` gives another one of its kind.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from typing import Any, Protocol

import msgpack

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.supervision import process

# The environment variable by which code knows that it is to take over: what to do, and the descriptor.
VARIABLE = "ZOCALOD_HANDOVER"
REHEARSE, TAKE_OVER = "rehearse", "take-over"
FORMAT = 2  # of the document; a number is never used for two
NAME = "zocalod-handover"  # of the memory file, in /proc/PID/fd
STAND_IN_SIZE = 64 * 1024 * 1024  # bytes


def write(document: Mapping[str, Any]) -> int:
    """Return the descriptor of a sealed memory file with the document."""
    data: bytes = msgpack.packb({"format": FORMAT, **document}, use_bin_type=True)
    return process.memory_file(NAME, data)


def read(descriptor: int) -> dict[str, Any]:
    """Return the document of a memory file.

    Raises:
        ProtocolError: it is none, or of a format that this code does not know.
    """
    try:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        document = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except Exception as e:  # an OSError, or one of the many kinds that msgpack raises
        raise ProtocolError(f"the handover cannot be read: {type(e).__name__}") from None
    known = document.get("format") if isinstance(document, dict) else None
    if known != FORMAT:
        raise ProtocolError(f"the handover has format {known!r}, and this version knows {FORMAT}")
    return dict(document)


def carried(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object that its class names in CARRIED."""
    return {name: getattr(owner, name) for name in owner.CARRIED}


def carry(owner: Any, values: Mapping[str, Any]) -> None:
    """Give an object such attributes; those that its class does not know are left out."""
    for name in owner.CARRIED:
        if name in values:
            setattr(owner, name, values[name])


def states(parts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all that these parts of a whole remember, but for each other and what they can call."""
    whole = list(parts.values())
    return {
        name: {
            attribute: value
            for attribute, value in vars(part).items()
            if not callable(value) and not any(value is other for other in whole)
        }
        for name, part in parts.items()
    }


def set_states(parts: Mapping[str, Any], values: Mapping[str, Mapping[str, Any]]) -> None:
    """Have the parts of a new whole remember what `states` has returned of another one."""
    for name, part in parts.items():
        for attribute, value in values.get(name, {}).items():
            if attribute in vars(part):
                setattr(part, attribute, value)


class Leaving:
    """The descriptors that the new code shall find."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()

    def keep(self, descriptor: int | socket.socket) -> int:
        """Return the number of a descriptor, which is handed over."""
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        self._numbers.add(number)
        return number

    def open(self, through: bool) -> None:
        """Let them through execve(2), or close them on it again (FD_CLOEXEC)."""
        for number in self._numbers:
            os.set_inheritable(number, through)


class Taking(Protocol):
    """Where the new code gets its descriptors from. All are closed on a further execve(2).

    Each method raises ProtocolError if the number is not that of such a descriptor.
    """

    def socket(self, number: int) -> socket.socket:
        """Return a socket."""

    def pidfd(self, number: int) -> int:
        """Return the pidfd of a child."""

    def pipe(self, number: int) -> int:
        """Return the end of a pipe."""

    def file(self, number: int) -> int:
        """Return a file, be it one in memory."""


class Arrived:
    """The descriptors that came through execve(2)."""

    def socket(self, number: int) -> socket.socket:
        """Return a socket."""
        return socket.socket(fileno=_checked(number, stat.S_ISSOCK, "socket"))

    def pidfd(self, number: int) -> int:
        """Return the pidfd of a child."""
        try:  # the one call that takes nothing but a pidfd of a child; it need not have ended
            os.set_inheritable(number, False)
            os.waitid(os.P_PIDFD, number, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError as e:
            raise ProtocolError(f"descriptor {number} should be the pidfd of a child: {e.strerror}") from None
        return number

    def pipe(self, number: int) -> int:
        """Return the end of a pipe."""
        return _checked(number, stat.S_ISFIFO, "pipe")

    def file(self, number: int) -> int:
        """Return a file."""
        return _checked(number, stat.S_ISREG, "file")


class Rehearsed:
    """Stand-ins, which nobody is at the other end of."""

    def socket(self, _number: int) -> socket.socket:
        """Return a socket."""
        return socket.socket(socket.AF_UNIX)

    def pidfd(self, _number: int) -> int:
        """Return a pidfd."""
        return os.pidfd_open(os.getpid())

    def pipe(self, _number: int) -> int:
        """Return the read end of a pipe."""
        read, write = os.pipe2(os.O_CLOEXEC)
        os.close(write)
        return read

    def file(self, _number: int) -> int:
        """Return a file, large enough for whatever it stands for; empty as it is, it takes no memory."""
        stand_in = os.memfd_create("stand-in", os.MFD_CLOEXEC)
        os.truncate(stand_in, STAND_IN_SIZE)
        return stand_in


def _checked(number: int, is_kind: Any, kind: str) -> int:
    try:
        right = is_kind(os.fstat(number).st_mode)
    except OSError:
        right = False
    if not right:
        raise ProtocolError(f"descriptor {number} should be a {kind}, and is not")
    os.set_inheritable(number, False)
    return number
