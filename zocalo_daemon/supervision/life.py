"""One life of the daemon: the lock on its state directory, and what its processes are known by."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from zocalo_daemon import strays
from zocalo_daemon.values import Value, field

SWEEP = 5.0  # seconds for what a former daemon has left
PATIENCE = 2.0  # seconds
_LONGEST = 16 * 1024  # bytes of the lock file that are looked at


class Life(Value):
    """What a daemon has from its start to its end, whatever becomes of its parts.

    Args:
        lock: descriptor of the locked file, which names the daemon's pid, `marker` and control groups.
        marker: stands in the environment of all that runs below the supervisor (`strays`).
        secret: a worker shows it to the relay; it travels in memory files and channels only.
    """

    lock: int
    marker: str
    secret: str = field(repr=False)


class Former(Value):
    """Who had the lock before; the marker is "" if that is not known."""

    pid: str
    marker: str


def lock(path: Path) -> int | None:
    """Lock a file and return its descriptor, with its content as it was; None if another one holds it.

    A daemon that was killed while it started a process has lent the lock to that one, until it has become
    the relay or a forkserver: this takes a moment, and is waited for.

    Raises:
        OSError: the file cannot be made or opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end or not _is_dead(holder(path)):
                os.close(fd)
                return None
            time.sleep(0.01)
        else:
            return fd


def _is_dead(pid: str) -> bool:
    """Whether a text is the number of no process."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OverflowError, PermissionError):
        return False
    return False


def former(content: bytes) -> Former:
    """Return whom the content of a lock file names."""
    words = [word for word in content[:200].decode("ascii", "replace").split() if word.isalnum()]
    pid, marker = (*words, "", "")[:2]
    return Former(pid, marker)


def end_former(locked: int) -> str:
    """Kill what a daemon that had the lock before has left; return a line that says so, or ""."""
    content = os.pread(locked, _LONGEST, 0)
    one = former(content)
    killed = strays.end_groups(_directories(content), SWEEP)
    killed += strays.end_life(one.marker, SWEEP) if one.marker else []
    said = f"the former zocalod (pid {one.pid}) has left processes behind, killed: {strays.listed(killed)}"
    return said if killed else ""


def end(life: Life) -> None:
    """Kill what a daemon that has stopped would leave: what services have started and nobody has missed."""
    strays.end_life(life.marker, SWEEP)


def holder(path: Path) -> str:
    """Return the pid in a lock file, "?" if there is none."""
    with contextlib.suppress(OSError):
        return former(path.read_bytes()).pid or "?"
    return "?"


def begin(locked: int) -> Life:
    """Write a new marker into the locked file; what it said before is lost.

    Raises:
        OSError: it cannot be written.
    """
    life = Life(locked, os.urandom(16).hex(), os.urandom(32).hex())
    note(life, [])
    return life


def note(life: Life, directories: Sequence[str]) -> None:
    """Write down where this life has control groups, for the one after it.

    Raises:
        OSError: it cannot be written.
    """
    content = "".join(f"{line}\n" for line in (os.getpid(), life.marker, *directories)).encode()
    os.pwrite(life.lock, content, 0)
    os.ftruncate(life.lock, len(content))


def _directories(content: bytes) -> list[str]:
    """Return what the content of a lock file says of control groups."""
    return [line for line in os.fsdecode(content).splitlines() if line.startswith("/")]
