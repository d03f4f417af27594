"""Processes that the kernel does not let run: stopped by a signal, or asleep where no signal wakes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from zocalo_daemon.supervision.events import signal_name

_PROC = Path("/proc")
STOPPED = ("T", "t")  # by a signal; by a debugger


def changes() -> Iterator[tuple[int, str]]:
    """Yield the children that were stopped, with the name of the signal, and those that go on, with "".

    Without WEXITED, waitid(2) reaps nobody, so all children may be asked about at once.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
        except ChildProcessError:
            return
        if found is None:
            return
        yield found.si_pid, "" if found.si_code == os.CLD_CONTINUED else _name(found.si_status)


def advice(name: str, pid: int) -> str:
    """Return what a person should know of a process that a signal has stopped."""
    return f"stopped by {name}; it goes on with: kill -CONT {pid}"


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped at the moment."""
    return state(pid) in STOPPED


def state(pid: int) -> str:
    """Return the letter of what a process is doing, "" if there is none (proc_pid_stat(5))."""
    return _state(_PROC / str(pid))


def deep_sleep(pid: int) -> str:
    """Return in what function of the kernel a thread of a process sleeps uninterruptibly, "" if none does.

    See proc_pid_stat(5), proc_pid_wchan(5).
    """
    try:
        threads = sorted(_PROC.joinpath(str(pid), "task").iterdir(), key=lambda thread: int(thread.name))
    except OSError:
        return ""
    for thread in threads:
        if _state(thread) == "D":
            return _read(thread / "wchan").strip("0\n ") or "the kernel"
    return ""


def _name(number: int) -> str:
    name = signal_name(number)
    return f"signal {name}" if name.isdigit() else name


def _state(process: Path) -> str:
    # The name of the program stands in parentheses before it, and may contain some itself.
    return _read(process / "stat").rpartition(") ")[2][:1]


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
