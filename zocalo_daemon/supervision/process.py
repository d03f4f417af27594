"""Processes, as the supervisor needs them: start, signal, reap; no subprocess module, no threads.

The subprocess module reaps children of its own accord and would race with us; here every child has a pidfd
from its first moment (pidfd_open(2)), is reaped only once that is readable (wait4(2)), and only after what is
left of its process group has been killed: as long as the leader is a zombie, its number cannot be taken.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from zocalo_daemon.supervision.events import Exit
from zocalo_daemon.values import Value

SETTINGS = "zocalod-settings"  # the name of the memory file, in /proc/PID/fd
RESERVED = 32  # descriptors that workers do not get, or a quarter if there are few
_HIGH = 10  # descriptors that are to become 0 to 9 in a child are first moved out of the way, up here


def start(
    argv: Sequence[str], env: Mapping[str, str], descriptors: Mapping[int, int], log: int
) -> tuple[int, int]:
    """Start a program in a process group of its own and return its pid and pidfd.

    Args:
        descriptors: number in the child to descriptor here; no other descriptor is inherited.
        log: becomes its standard output and error.

    Raises:
        OSError: no such program, or no resources.
    """
    moved: dict[int, int] = {}
    try:
        with Path(os.devnull).open("rb") as null:
            for number, fd in {0: null.fileno(), 1: log, 2: log, **descriptors}.items():
                moved[number] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            dict(env),
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in moved.items()],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
        )
    finally:
        for fd in moved.values():
            os.close(fd)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        kill_group(pid)
        os.waitpid(pid, 0)
        raise


class Started(Value):
    """A process that was told its settings: the supervisor's `end` of its line, and of its `log` pipe."""

    pid: int
    pidfd: int
    end: socket.socket
    log: int


def start_with(
    argv: Sequence[str],
    env: Mapping[str, str],
    settings: Mapping[str, Any],
    pair: tuple[socket.socket, socket.socket],
    more: Mapping[int, int] | None = None,
) -> Started:
    """Start the relay or a forkserver: the other end of its line is descriptor 3, its settings are 4.

    Args:
        settings: plain data, which it reads as msgpack from a sealed file in memory.
        pair: the line, as `channel_pair` or `link_pair` makes it; both ends are this function's.
        more: further descriptors, by their number in the child.

    Raises:
        OSError: no such program, or no resources.
    """
    ours, theirs = pair
    with contextlib.ExitStack() as failed, contextlib.ExitStack() as passed:
        failed.callback(ours.close)
        passed.callback(theirs.close)
        read, write = log_pipe()
        failed.callback(os.close, read)
        passed.callback(os.close, write)
        memory = memory_file(SETTINGS, msgpack.packb(dict(settings), use_bin_type=True))
        passed.callback(os.close, memory)
        pid, pidfd = start(argv, env, {3: theirs.fileno(), 4: memory, **(more or {})}, write)
        failed.pop_all()
    return Started(pid, pidfd, ours, read)


def keep_some_free(latest: int) -> None:
    """Go on if there are descriptors left for more than workers: clients, and another relay or forkserver.

    Args:
        latest: the number of the latest one; all below it are taken, as each gets the lowest that is free.

    Raises:
        OSError: too few are left, as if there were none.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if latest + min(RESERVED, most // 4) >= most:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def send_signal(pidfd: int, number: int) -> None:
    """Send a signal to a child that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def kill_group(pid: int) -> None:
    """SIGKILL to a child that has not been reaped yet, and to all that is left of its process group."""
    for kill in (os.killpg, os.kill):  # before its setsid() the child leads no group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def reap(pid: int, pidfd: int) -> Exit:
    """Return how a child ended whose pidfd is readable; the rest of its process group is killed first."""
    kill_group(pid)
    # By its pid, which cannot be another's before this call: waitid(2) does not tell what it has used.
    ended, status, used = os.wait4(pid, os.WNOHANG)
    os.close(pidfd)
    if not ended:
        raise ChildProcessError(f"process {pid} has not ended")
    code = os.waitstatus_to_exitcode(status)
    return Exit(code, used.ru_maxrss * 1024, round(used.ru_utime + used.ru_stime, 3))


def reap_orphans(known: Container[int]) -> None:
    """Reap what became our child because its parent died, and stop at the first child that is `known`.

    That one is reaped through its pidfd, whose turn comes.
    """
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid in known:
                return
            os.waitid(os.P_PID, found.si_pid, os.WEXITED)


def memory_file(name: str, data: bytes) -> int:
    """Return a descriptor of a sealed file in memory with `data`, at its beginning (memfd_create(2))."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def shared_memory(name: str, size: int) -> int:
    """Return a descriptor of a file in memory, of zeros, that nobody can make shorter under a reader."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel (protocol/channel.py), the first one non-blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def link_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a link (protocol/link.py), the first one non-blocking."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


def log_pipe() -> tuple[int, int]:
    """Return the read end (non-blocking) and the write end of a log pipe."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    return read, write
