"""This machine: Python and packages, what the kernel must offer, the clock."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from zocalo_daemon.doctor.findings import Finding, installing, ok, problem, warning
from zocalo_daemon.doctor.situation import Situation

OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 35, 0)
PACKAGES = ("msgpack", "workflows", "yaml", "psutil", "setproctitle")
SUSPENDED = 60.0  # seconds
_STA_UNSYNC = 0x40  # adjtimex(2)


def check(_situation: Situation) -> Iterator[Finding]:
    """Yield what is wrong with the machine itself."""
    found = [*_python(), *kernel(KERNEL), *clock(time.time(), _suspended(), synchronised())]
    version = sys.version.split()[0]
    yield from found or [ok("machine", sys.executable, f"Python {version}, kernel {os.uname().release}")]


def _python() -> Iterator[Finding]:
    if sys.version_info < OLDEST_PYTHON:
        yield problem("python", sys.executable, f"is {sys.version.split()[0]}; zocalod needs 3.11 or later")
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield problem(
            "python", sys.executable, f"has SQLite {sqlite3.sqlite_version}; 3.35 or later is needed"
        )
    for name in PACKAGES:
        if find_spec(name) is None:
            package = "PyYAML" if name == "yaml" else name
            do = installing(package, sys.executable, find_spec("pip") is not None)
            yield problem("python", sys.executable, f"lacks the package {package}", do)


# -- What the kernel must offer


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _memfd() -> None:
    os.close(os.memfd_create("doctor", os.MFD_CLOEXEC))


def _proc() -> None:
    Path("/proc/self/stat").stat()


KERNEL: dict[str, Callable[[], None]] = {
    "pidfd_open (Linux 5.3)": _pidfd,
    "memfd_create (Linux 3.17)": _memfd,
    "/proc": _proc,
}


def kernel(features: dict[str, Callable[[], None]]) -> Iterator[Finding]:
    """Yield which features are refused: by an old kernel, or by the seccomp filter of a container."""
    for name, attempt in features.items():
        try:
            attempt()
        except (OSError, AttributeError) as e:
            said = f"refuses {name}, which zocalod needs: {e}"
            yield problem("kernel", os.uname().release, said, "a later kernel, or allow it in the container")


# -- The clock


def clock(now: float, suspended: float, in_step: bool | None) -> Iterator[Finding]:
    """Yield what is wrong with the clock; nothing is decided by it, but people read its times.

    Args:
        now: seconds since 1970.
        suspended: seconds that the machine has slept.
        in_step: whether it is kept right; None if that is not known.
    """
    year = time.gmtime(max(0.0, now)).tm_year
    if year < 2020:
        yield problem("clock", "", f"it says {year}", "timedatectl set-ntp true; or date -s")
    elif in_step is False:
        text = "nothing keeps it right: times in logs may differ from those of other machines"
        yield warning("clock", "", text, "timedatectl set-ntp true (or systemctl start chronyd)")
    if suspended > SUSPENDED:
        text = f"this machine has been suspended for {suspended:.0f} s since it was started"
        yield warning("clock", "", text, "systemctl mask sleep.target, on a server")


def _suspended() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class _Timex(ctypes.Structure):
    """The beginning of struct timex, and room for the rest (adjtimex(2))."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def synchronised() -> bool | None:
    """Return whether the kernel's clock is kept in step with others; None if it does not say."""
    timex = _Timex()  # modes 0: only read
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & _STA_UNSYNC
