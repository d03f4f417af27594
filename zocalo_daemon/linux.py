"""Linux calls that the standard library lacks (prctl(2)), for supervisor, relay and workers alike."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


_SHORTAGES = {
    errno.EMFILE: "no descriptor left within the limit; raise LimitNOFILE",
    errno.ENFILE: "no descriptor left on this machine; raise the sysctl fs.file-max",
    errno.EAGAIN: "no process more is allowed; raise TasksMax or LimitNPROC, or the sysctl kernel.pid_max",
    errno.ENOMEM: "no memory left for another process",
}


def shortage(number: int | None) -> str | None:
    """Return what the machine has run out of, by an error number, and what to do; None if it is another."""
    return _SHORTAGES.get(number or 0)


def _prctl(option: int, value: int | bytes) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    """Make this process the parent of its orphaned descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_thread_name(name: str) -> None:
    """Set the name that `ps -o comm` shows, at most 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends; return False if it has ended already.

    Args:
        parent: pid of the process that should be the parent. The signal follows the parent's *thread* that
            forked (prctl(2)), so the parent must fork from its main thread.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent
