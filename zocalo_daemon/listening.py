"""The sockets that the daemon listens at: made here, or passed by systemd, which keeps them over restarts.

A socket that is passed (sd_listen_fds(3)) has the name `control` in $LISTEN_FDNAMES, or is the only one. Its
number and its variables stay as they are, so that code which starts anew in this process finds it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from zocalo_daemon.errors import ConfigError

BACKLOG = 512  # connections that wait while a relay is replaced, or the loop is busy
FIRST = 3  # number of the first descriptor that is passed
CONTROL = "control"  # FileDescriptorName= in zocalod.socket


def passed(environ: Mapping[str, str], pid: int) -> dict[int, str]:
    """Return the descriptors that were passed to the process `pid`, with their names.

    Raises:
        ConfigError: the variables say nonsense.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return {}
    count = environ.get("LISTEN_FDS", "")
    if not count.isdecimal():
        raise ConfigError(f"LISTEN_FDS is {count!r}, and no number: whoever starts zocalod must mend it")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    return dict(zip(range(FIRST, FIRST + int(count)), names, strict=False))


def control(path: Path, mode: int, environ: Mapping[str, str], pid: int) -> tuple[socket.socket, bool]:
    """Return the control socket, and whether it was passed and is therefore not ours to remove.

    Raises:
        ConfigError: it cannot be made, or what was passed is not what the configuration says.
    """
    found = passed(environ, pid)
    numbers = [number for number, name in found.items() if name == CONTROL or len(found) == 1]
    if not numbers:
        return bind(path, mode), False
    listener = _taken(numbers[0], path)
    with contextlib.suppress(OSError):  # it may belong to root; then SocketMode= has said who connects
        path.chmod(mode)
    return listener, True


def _taken(number: int, path: Path) -> socket.socket:
    try:
        listener = socket.socket(fileno=number)
        kind = listener.family, listener.type, listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        where = listener.getsockname()
    except OSError as e:
        raise ConfigError(
            f"the descriptor {number} that was passed as control socket: {e.strerror}"
        ) from None
    if kind != (socket.AF_UNIX, socket.SOCK_STREAM, 1) or where != str(path):
        listener.detach()
        raise ConfigError(
            f"the socket that was passed is {where or 'no listening Unix stream socket'}, and "
            f"control.socket is {path}; set ListenStream={path} in zocalod.socket, or control.socket"
        )
    os.set_inheritable(number, False)
    return listener


def bind(path: Path, mode: int) -> socket.socket:
    """Return a listening socket at `path`; it gets that name only once it listens.

    Raises:
        ConfigError: it cannot be made there.
    """
    _make_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f".{os.getpid()}.sock")
    try:
        temporary.unlink(missing_ok=True)
        listener.bind(str(temporary))
        temporary.chmod(mode)
        listener.listen(BACKLOG)
        temporary.rename(path)
    except OSError as e:
        raise ConfigError(f"cannot make the socket {path}: {e.strerror}; set control.socket") from None
    return listener


def make_directory(directory: Path, mode: int) -> None:
    """Make the directory of the sockets, and refuse one in which others could replace them.

    Raises:
        ConfigError: it cannot be used.
    """
    from zocalo_daemon.config import places  # noqa: PLC0415 - as in main

    try:
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(mode)
        about = directory.stat()
    except OSError as e:
        raise ConfigError(
            f"the directory {directory} of the socket cannot be used: {e.strerror}; set control.socket"
        ) from None
    if places.replaceable(about.st_mode, about.st_uid, os.getuid()):
        raise ConfigError(
            f"others could replace sockets in {directory}: it belongs to uid {about.st_uid}, with mode "
            f"{stat.S_IMODE(about.st_mode):o}; set control.socket"
        )


def _make_way(path: Path) -> None:
    """Remove nothing, but refuse to replace what is not a stale socket."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ConfigError(f"{path} exists and is no socket; move it away, or set control.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        answer = probe.connect_ex(str(path))
    if answer not in (errno.ECONNREFUSED, errno.ENOENT):
        raise ConfigError(
            f"another daemon answers on {path}; stop it first, or set control.socket and state_dir"
        )
