"""Linux calls that the standard library lacks, for supervisor, relay and workers alike."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_TID_ADDRESS = 40
_SYS_CLONE3 = 435  # on every architecture
_CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID, _CLONE_INTO_CGROUP = 0x200000, 0x1000000, 0x200000000

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


# ioprio_set(2), which the C library has no function for: 13 bits of level, above them the class.
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "ppc64le": 273, "s390x": 282}
_IOPRIO_WHO_PROCESS, _IOPRIO_BEST_EFFORT, _IOPRIO_IDLE, _IOPRIO_CLASS_SHIFT = 1, 2, 3, 13


def set_io_priority(priority: str) -> None:
    """Set the priority with which this process reads and writes disks.

    Args:
        priority: "idle", or "best-effort/N" with N from 0 (first) to 7 (last).

    Raises:
        OSError: this machine has no such call.
    """
    kind, _, level = priority.partition("/")
    value = (_IOPRIO_IDLE if kind == "idle" else _IOPRIO_BEST_EFFORT) << _IOPRIO_CLASS_SHIFT | int(level or 0)
    number = _SYS_IOPRIO_SET.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _libc.syscall(ctypes.c_long(number), _IOPRIO_WHO_PROCESS, 0, value) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _CloneArgs(ctypes.Structure):
    """struct clone_args (clone(2))."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls"),
            *("set_tid", "set_tid_size", "cgroup"),
        )
    )


# Made once: whatever a fork makes anew, each worker has to itself.
_clone = _CloneArgs(
    flags=_CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID | _CLONE_INTO_CGROUP, exit_signal=signal.SIGCHLD
)
_clone_at, _clone_size = ctypes.c_void_p(ctypes.addressof(_clone)), ctypes.c_size_t(ctypes.sizeof(_clone))
_clone3 = ctypes.PyDLL(None, use_errno=True).syscall  # keeps the interpreter's lock, as a fork must
_clone3.restype = ctypes.c_long
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent


def fork_into(group: int) -> int:
    """Fork as os.fork, with the child in a control group of version 2 from its beginning.

    To move a process there costs some 10 ms: the kernel then waits until every processor has taken notice.
    Handlers of pthread_atfork(3) do not run, so this is for a process that is itself a fresh fork and has
    one thread. The C library remembers its thread's number at an address that the kernel knows, and has to
    find the child's own there.

    Args:
        group: descriptor of the group's directory.

    Raises:
        OSError: not with this kernel (5.7 or later), not in this container, or not into this group.
    """
    if not _clone.child_tid:
        address = ctypes.c_void_p()
        if _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) != 0 or not address.value:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        _clone.child_tid = address.value
    _clone.cgroup = group
    _before_fork()
    pid: int = _clone3(_SYS_CLONE3, _clone_at, _clone_size)
    if pid == 0:
        _after_fork_in_child()
        return 0
    number = ctypes.get_errno()
    _after_fork_in_parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid
