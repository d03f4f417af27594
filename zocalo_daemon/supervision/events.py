"""What the loop reports to the roster about workers, as values."""

from __future__ import annotations

import signal

from zocalo_daemon.values import Value


class Exit(Value):
    """How a process ended.

    Args:
        code: its exit status, or -N for signal N as in subprocess.
        max_rss: bytes of memory that it had at its peak, what it shared with others included.
        cpu_s: seconds of processor time, user and system.
    """

    code: int
    max_rss: int = 0
    cpu_s: float = 0.0

    @property
    def clean(self) -> bool:
        """It ended by itself, without an error."""
        return self.code == 0

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exit status {self.code}"
        return f"signal {signal_name(-self.code)}"


def signal_name(number: int) -> str:
    """Return the name of a signal; a real-time signal has none, and is called by its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


class Forked(Value):
    """The worker has become a process."""

    serial: int
    pid: int


class Ready(Value):
    """The worker's initializing() has returned and its subscriptions stand."""

    serial: int


class Exited(Value):
    """The worker ended, or could not be forked; `error` says why, as well as it is known.

    `refused`: the machine had no descriptor or process left for it, which is no fault of the service.
    """

    serial: int
    exit: Exit
    error: str = ""
    refused: bool = False


class Unloadable(Value):
    """The worker cannot be forked, now or later, because the class of its service cannot be loaded."""

    serial: int
    error: str


class Hung(Value):
    """The worker has made no progress for its `hang_timeout`.

    `what` is for people: "no progress for 600 s on the delivery in hand", "... in initializing()".
    """

    serial: int
    what: str


class Spent(Value):
    """The worker is to be recycled; `why` is for people: "10,000 messages", "RSS 2.1 GiB"."""

    serial: int
    why: str


class Stalled(Value):
    """The kernel has stopped the worker, or lets it go on again: `why` is then "".

    `why` is for people: "stopped by SIGSTOP; it goes on with: kill -CONT 4711".
    """

    serial: int
    why: str


class Traced(Value):
    """The worker may not write these lines to the trail itself; no matter of the roster."""

    serial: int
    lines: bytes


Event = Forked | Ready | Exited | Unloadable | Hung | Spent | Stalled
Report = Event | Traced
