"""One connection to the daemon: which socket, hello, requests, followers."""

from __future__ import annotations

import errno
import os
import struct

from zocalo_daemon import __version__
from zocalo_daemon.errors import NotPermitted, NotRunning, Unavailable, ZocaloError, exit_status_of
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import Decoder, encode

try:
    # socket makes enums of hundreds of constants and loads selectors: a fifth of a whole `zocaloctl status`.
    import _socket as socket
except ImportError:
    import socket  # type: ignore[no-redef]

TYPE_CHECKING = False  # typing takes 3 ms to load
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from zocalo_daemon.protocol.framing import Frame

SYSTEM_SOCKET = "/run/zocalo/zocalod.sock"
ANSWER_TIMEOUT = 10  # seconds; the daemon itself answers within 0.1, its brokers may take longer


class RemoteError(ZocaloError):
    """What the daemon answered instead of a value."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message")), error.get("data"))
        self.code = str(error.get("code"))
        self.exit_status = exit_status_of(self.code)
        self.retryable = bool(error.get("retryable"))


class Missed(int):
    """So many items of a follower were lost because it was too slow."""


class Connection:
    """Connects when the first request is made; use it as a context manager.

    Args:
        path: of the control socket; None for the one that `find_socket` finds.
        patience: seconds for the connection to be taken.
    """

    def __init__(self, path: str | None, patience: float = ANSWER_TIMEOUT) -> None:
        self.path = path or find_socket(os.environ)
        self.named = bool(path or os.environ.get("ZOCALO_SOCKET"))  # by a person, who may have erred
        self._patience = patience
        self._sock: socket.socket | None = None
        self._decoder = Decoder()
        self._frames: Iterator[Frame] = iter(())
        self._number = 0
        self._timeout: float | None = None
        self.hello: dict[str, Any] = {}

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; the next request connects again."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._decoder = Decoder()
        self._frames = iter(())

    def call(
        self, op: str, args: dict[str, Any] | None = None, timeout: float | None = ANSWER_TIMEOUT
    ) -> Any:
        """Ask for an operation and return its value.

        Args:
            timeout: seconds without a word from the daemon, after which it counts as stuck; None waits.

        Raises:
            ZocaloError: no daemon, no permission, or what the daemon answered.
        """
        for _item in self.stream(op, args, timeout):
            pass
        return self._value

    def stream(
        self, op: str, args: dict[str, Any] | None = None, timeout: float | None = None
    ) -> Iterator[Any]:
        """Ask for an operation and yield its chunks, and Missed(count) where some were lost.

        Raises:
            ZocaloError: as for `call`.
        """
        self._number += 1
        asked = encode(control.request(self._number, op, args or {}))
        if self._sock is None:
            sock = self._connect()
            asked = encode(control.client_hello(f"zocaloctl {__version__}")) + asked
        else:
            sock = self._sock
        self._timeout = timeout
        _set_timeout(sock, timeout)
        try:  # noqa: SIM105 - as in main.py
            sock.sendall(asked)
        except OSError:
            pass  # it has closed the connection, and most likely said why
        for frame in self._answers(sock):
            if "chunk" in frame:
                yield frame["chunk"]
            elif "missed" in frame:
                yield Missed(frame["missed"])

    def _answers(self, sock: socket.socket) -> Iterator[Frame]:
        """Yield the frames of the newest request up to its end; leave its value in `_value`."""
        while True:
            frame = self._receive(sock)
            if "hello" in frame:
                self.hello = control.agree(frame)[1]
            elif "error" in frame and frame.get("id") in (0, self._number):
                raise RemoteError(frame["error"])
            elif frame.get("id") != self._number:
                continue
            elif "ok" in frame:
                self._value = frame["ok"]
                return
            else:
                yield frame

    def _receive(self, sock: socket.socket) -> Frame:
        while True:
            frame = next(self._frames, None)
            if frame is not None:
                return frame
            try:
                data = sock.recv(1 << 18)
            except BlockingIOError:
                raise Unavailable(
                    f"the daemon at {self.path} has not answered within {self._timeout:g} s: "
                    "it is stopped, or waits for a broker, or its machine is overloaded"
                ) from None
            except OSError:
                data = b""
            if not data:
                raise NotRunning(f"the daemon at {self.path} went away")
            self._frames = self._decoder.feed(data)

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _set_timeout(sock, self._patience)
        try:
            sock.connect(self.path)
        except (OSError, ValueError) as e:  # ValueError: a zero byte in the path
            sock.close()
            raise _explained(e, self.path) from None
        self._sock = sock
        return sock


def find_socket(environment: os._Environ[str] | dict[str, str]) -> str:
    """Return the socket to try when none was named: that of the user's own daemon, or the system's."""
    named = environment.get("ZOCALO_SOCKET")
    if named:
        return named
    runtime = environment.get("XDG_RUNTIME_DIR")
    if runtime:
        path = os.path.join(runtime, "zocalo", "zocalod.sock")
        if os.path.exists(path):
            return path
    temporary = environment.get("TMPDIR", "")
    if not temporary.startswith("/"):
        temporary = "/tmp"  # noqa: S108 - only a directory of this user's own is believed
    path = f"{temporary}/zocalo-{os.getuid()}/zocalod.sock"
    try:
        if os.lstat(os.path.dirname(path)).st_uid == os.getuid() and os.path.exists(path):
            return path
    except OSError:
        pass
    return SYSTEM_SOCKET


def _set_timeout(sock: socket.socket, seconds: float | None) -> None:
    """Bound each wait of a blocking socket; 0 is no bound (socket(7), SO_RCVTIMEO).

    settimeout() would make the socket non-blocking, and then connect() fails at once when the backlog of a
    busy daemon is full, where a blocking one waits (unix(7), EAGAIN).
    """
    whole, part = divmod(seconds or 0, 1)
    value = struct.pack("ll", int(whole), int(part * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


def _explained(problem: Exception, path: str) -> ZocaloError:
    number = problem.errno if isinstance(problem, OSError) else None
    if number in (errno.EACCES, errno.EPERM):
        return NotPermitted(f"you may not use {path}: {_who_may(path)}")
    if number == errno.EAGAIN:
        return Unavailable(
            f"the daemon at {path} takes no connection; is it stopped, or its machine overloaded?"
        )
    if number in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
        why = "nobody listens there" if number == errno.ECONNREFUSED else "no such socket"
        return NotRunning(
            f"no daemon at {path} ({why}); start it with `systemctl start zocalod` or `zocalod`, "
            "or name another socket with --socket or ZOCALO_SOCKET"
        )
    return NotRunning(f"no daemon at {path}: {problem}")


def _who_may(path: str) -> str:
    """Return who may use the socket, as far as the file system says."""
    import grp
    import pwd

    try:
        stat = os.stat(path)
    except OSError:
        return f"its directory {os.path.dirname(path)} is closed to you; ask for a group of control.roles"
    try:
        owner = pwd.getpwuid(stat.st_uid).pw_name
    except KeyError:
        owner = str(stat.st_uid)
    try:
        group = grp.getgrgid(stat.st_gid).gr_name
    except KeyError:
        group = str(stat.st_gid)
    if stat.st_mode & 0o020:
        return f"it is open to the user {owner} and the group {group}; join that group and log in again"
    return f"it is open to the user {owner} only"
