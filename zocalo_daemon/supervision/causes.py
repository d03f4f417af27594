"""Why a worker has ended, in words (pure).

What the supervisor itself has done to it comes first; then its own last word; then how the kernel says that
it ended, with the traceback that faulthandler has written. A SIGKILL leaves no trace in the process: the
kernel's counters tell one for lack of memory from one by somebody else (`oom`).
"""

from __future__ import annotations

import enum
import signal
from typing import NamedTuple

from zocalo_daemon.config.units import show_size
from zocalo_daemon.protocol.channel import CUT_OFF
from zocalo_daemon.supervision.events import Exit
from zocalo_daemon.supervision.oom import Evidence
from zocalo_daemon.values import Value


class Deed(enum.Enum):
    """What the supervisor has done to a worker."""

    NOTHING = enum.auto()
    ASKED = enum.auto()  # it was to finish
    KILLED = enum.auto()  # it was not wanted any more
    HANG = enum.auto()  # killed: no progress
    STOP_TIMEOUT = enum.auto()  # killed: it did not finish in time
    START_TIMEOUT = enum.auto()  # killed: it did not become ready in time


class Death(Value):
    """What is known about the end of a worker.

    Args:
        note: why the supervisor killed it, for people.
        error, kind: its last word, and the name of the exception.
        place: where it was when it crashed, by its last traceback: "file.py:12 in name", or "".
        finishing: it had run in_shutdown().
        oom: what the kernel says, if it was a SIGKILL.
        memory: its limit of memory in bytes, if it had a control group in which that counts.
    """

    exit: Exit
    deed: Deed = Deed.NOTHING
    note: str = ""
    error: str = ""
    kind: str = ""
    place: str = ""
    finishing: bool = False
    oom: Evidence = Evidence.NONE
    memory: int | None = None


class Cause(NamedTuple):
    """A stable word, and a sentence without its exit status or signal.

    Args:
        crash: something went wrong, so that there is something to report.
        blamed: the delivery that it was at may be the reason.
    """

    word: str
    text: str
    crash: bool = True
    blamed: bool = True


_FAULTS = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGABRT: "aborted by itself",
    signal.SIGSYS: "bad system call",
    signal.SIGTRAP: "trap",
}
_LIMITS = {signal.SIGXCPU: "its limit of processor time", signal.SIGXFSZ: "its limit of file size"}
_DEEDS = {
    Deed.HANG: ("hang", True),
    Deed.STOP_TIMEOUT: ("stop-timeout", False),
    Deed.START_TIMEOUT: ("start-timeout", True),
}
_OOM = {
    Evidence.CERTAIN: "killed by the kernel for lack of memory",
    Evidence.PROBABLE: "probably killed by the kernel for lack of memory",
}


def explain(death: Death) -> Cause:
    """Return why a worker has ended."""
    if death.deed in _DEEDS:
        word, blamed = _DEEDS[death.deed]
        return Cause(word, death.note, blamed=blamed)
    if death.deed is Deed.KILLED or (death.deed is Deed.ASKED and death.exit.clean):
        return Cause("stopped", death.error, crash=False, blamed=False)
    if death.exit.code < 0:
        return _of_signal(death)
    return _of_status(death)


def _of_signal(death: Death) -> Cause:
    number = -death.exit.code
    at = f" at {death.place}" if death.place else ""
    if number in _FAULTS:
        return Cause("fault", f"{_FAULTS[signal.Signals(number)]}{at}")
    if number in _LIMITS:
        return Cause("limit", f"it reached {_LIMITS[signal.Signals(number)]}{at}")
    if number == signal.SIGKILL:
        said = _OOM.get(death.oom)
        if said and death.memory:
            said += f": its limits.memory is {show_size(death.memory)}"
        return Cause("oom", said) if said else Cause("killed", "killed from outside the daemon")
    return Cause("signal", "sent from outside the daemon, or by itself")


def _of_status(death: Death) -> Cause:
    if death.kind == "SystemExit":
        return Cause("exit", f"it called sys.exit: {death.error}")
    if death.kind == "KeyboardInterrupt":
        return Cause("interrupt", f"interrupted by SIGINT: {death.error}")
    if death.error:
        return Cause("exception", death.error)
    if death.exit.code == CUT_OFF:
        return Cause("cut-off", "it has closed its channel to the supervisor")
    if death.exit.clean and death.finishing:
        return Cause("finished", "", crash=False, blamed=False)
    return Cause("exit", f"it called os._exit({death.exit.code}), or a library did")
