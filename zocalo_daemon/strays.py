"""Finds and ends what a daemon has left behind: processes without a supervisor, or without their worker.

Whatever runs below a supervisor has two variables in its environment: the life of the daemon that it belongs
to and the serial of its worker. /proc/PID/environ shows them whatever session or process group it has moved
to, and whoever is its parent by now. A worker writes its serial over that of the forkserver, in the very
memory that the kernel shows (`mark`), so that its children have it even if they are mere forks of it.

A process is killed through a pidfd, and only if it is still the one that was looked at (its start time is the
same): a number that another process has got meanwhile is never hit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

from zocalo_daemon import cgroups
from zocalo_daemon.values import Value

LIFE = "ZOCALO_DAEMON_LIFE"
SERIAL = "ZOCALO_SERVICE_SERIAL"
# What stands for a serial, in as many letters: of what belongs to no worker, and of a forkserver itself.
NO_WORKER, FORKSERVER = "0" * 10, "forkserver"
_UNMARKED = (NO_WORKER.encode(), FORKSERVER.encode())
# Without it setproctitle writes its titles over the environment, and with it only over the arguments.
_KEEP_ENVIRONMENT = "SPT_NOENV"

CLEAN = 2  # looks that find nothing, until nothing is believed to be there: one may miss a fork
_PATIENCE = 0.05  # seconds for the killed to end, before the next look
SHOWN = 5  # processes in one line of the log
_COMMAND = 60  # characters of a command that are shown

# Where the serial of this process stands in the memory that /proc/PID/environ shows, if it is known.
_shown: list[ctypes.Array[ctypes.c_char]] = []


# -- Marking


def marked(env: Mapping[str, str], life: str) -> dict[str, str]:
    """Return the environment with which the supervisor starts a process of its own."""
    return {**env, LIFE: life, SERIAL: NO_WORKER, _KEEP_ENVIRONMENT: "1"}


def mark(serial: int) -> None:
    """Note in this process and all that it will start that they belong to a worker."""
    _show(serial_text(serial))  # before os.environ gets another string for it
    os.environ[SERIAL] = serial_text(serial)


def serial_text(serial: int) -> str:
    """Return a worker's serial as the environment has it."""
    return f"{serial:0{len(NO_WORKER)}d}"


def mark_forkserver() -> None:
    """Note that this process is a forkserver; what it starts while it imports is not.

    Finds the place for `mark` as well: looked for by each worker, it would cost 40 KiB each.
    """
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    address = getenv(SERIAL.encode())
    if address and ctypes.string_at(address) == NO_WORKER.encode():
        _shown[:] = [(ctypes.c_char * len(NO_WORKER)).from_address(address)]
    _show(FORKSERVER)


def hide_setting_of_titles() -> None:
    """Keep from services how processes of the daemon are named; call it after the first title is set."""
    os.environ.pop(_KEEP_ENVIRONMENT, None)


def _show(text: str) -> None:
    """Write over the serial in the memory that /proc/PID/environ shows, if it is still there."""
    for place in _shown:
        if place.raw in _UNMARKED and len(text) == len(place):
            place.raw = text.encode()


# -- Looking


class Found(Value):
    """A process as it was seen; pid and start time (clock ticks since the machine's start) identify it."""

    pid: int
    parent: int
    session: int
    started: int

    def __str__(self) -> str:
        """Return pid and command, as people know it."""
        command = _read(self.pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
        text = "".join(c if c.isprintable() else "?" for c in command[:_COMMAND])
        return f"{self.pid} ({text or 'a process without arguments'})"


def look(pid: int) -> Found | None:
    """Return a process that has not ended, or None."""
    # proc(5), /proc/PID/stat: the second field, the name, stands in brackets and may have some in it.
    state, *fields = _read(pid, "stat").rpartition(b") ")[2].split()[:20] or [b"X"]
    if state in (b"Z", b"X") or len(fields) < 19:
        return None
    return Found(pid, int(fields[0]), int(fields[2]), int(fields[18]))


def processes() -> Iterator[Found]:
    """Yield every process of this machine.

    Raises:
        OSError: no descriptors left to look.
    """
    for name in os.listdir("/proc"):  # noqa: PTH208  (thousands of paths would cost more than the look)
        if name.isdigit() and (found := look(int(name))):
            yield found


def mark_of(found: Found) -> tuple[str, str]:
    """Return the life and the serial in the environment of a process, "" where there is none to be read."""
    environment = b"\0" + _read(found.pid, "environ")
    life, serial = (
        environment.partition(b"\0" + name.encode() + b"=")[2].partition(b"\0")[0].decode(errors="replace")
        for name in (LIFE, SERIAL)
    )
    return life, serial


def _read(pid: int, file: str) -> bytes:
    """Return a file of a process, b"" if it is gone or another user's."""
    parts = []  # and no pathlib, which would take as long again
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/proc/{pid}/{file}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while part := os.read(descriptor, 65536):
                parts.append(part)
        finally:
            os.close(descriptor)
    return b"".join(parts)


# -- Ending


def kill(found: Iterable[Found]) -> list[int]:
    """SIGKILL to processes that are still those that were seen; return a pidfd for each that was hit."""
    descriptors = []
    for one in found:
        try:
            descriptor = os.pidfd_open(one.pid)
        except OSError:  # it has ended, or there are no descriptors left: the next look tells
            continue
        descriptors.append(descriptor)
        now = look(one.pid)
        if now and now.started == one.started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    return descriptors


def sweep(wanted: Callable[[Found], bool], seconds: float, looks: int = CLEAN) -> list[str]:
    """Kill what is wanted until so many looks find no more, for some seconds at most; return what it was."""
    deadline = time.monotonic() + seconds
    killed: dict[Found, str] = {}
    clean = 0
    while clean < looks and time.monotonic() < deadline:
        try:
            found = [one for one in processes() if wanted(one)]
        except OSError:  # no descriptors left to look
            time.sleep(_PATIENCE)
            continue
        clean = 0 if found else clean + 1
        killed |= {one: str(one) for one in found if one not in killed}
        descriptors = kill(found)
        for descriptor in descriptors:
            select.select([descriptor], [], [], _PATIENCE / len(descriptors))
            os.close(descriptor)
    return list(killed.values())


def end_life(life: str, seconds: float, sessions: Set[int] = frozenset()) -> list[str]:
    """Kill all that belongs to a life but this process, and return what it was.

    Forkservers come last: each of them may be doing the same, and must not be stopped in it.

    Args:
        sessions: of its workers. What is in them is killed though its environment does not show the life.
    """
    if not life:
        raise ValueError("a life without a name would be everybody's")
    this = os.getpid()

    def belongs(found: Found) -> bool:
        marked, serial = mark_of(found)
        if found.pid == this or (marked == life and serial == FORKSERVER):
            return False
        return marked == life or (found.session in sessions and is_without_leader(found))

    killed = sweep(belongs, seconds)
    return killed + sweep(lambda found: found.pid != this and mark_of(found)[0] == life, seconds, looks=1)


def in_group(group: str) -> list[Found]:
    """Return the processes in a control group that have not ended."""
    return [found for pid in cgroups.members(group) if (found := look(pid))]


def end_groups(bases: Sequence[str], seconds: float) -> list[str]:
    """Kill all that is in the control groups of workers, remove the groups, and return what was killed.

    Args:
        bases: directories of a daemon that has ended, or is to end now.
    """
    deadline = time.monotonic() + seconds
    killed: dict[Found, str] = {}
    left = [group for base in bases for group in cgroups.of_workers(base)]
    while left := [group for group in left if not cgroups.remove(group)]:
        for group in left:
            found = in_group(group)
            killed |= {one: str(one) for one in found if one not in killed}
            cgroups.kill(group)
            for descriptor in kill(found):
                os.close(descriptor)
        if time.monotonic() > deadline:
            break
        time.sleep(_PATIENCE / 10)
    for base in bases:
        cgroups.remove(base)
    return list(killed.values())


def listed(killed: list[str]) -> str:
    """Return what was killed as part of a line."""
    more = f" and {len(killed) - SHOWN} more" if len(killed) > SHOWN else ""
    return ", ".join(killed[:SHOWN]) + more


def is_without_leader(found: Found) -> bool:
    """Return whether the one that made a process's session has ended: if not, the number may be another's."""
    return look(found.session) is None
