"""What the loop reports to the roster about workers, as values."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: `code` is its exit status, or -N for signal N as in subprocess."""

    code: int

    @property
    def clean(self) -> bool:
        """It ended by itself, without an error."""
        return self.code == 0

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exit status {self.code}"
        try:
            return f"signal {signal.Signals(-self.code).name}"
        except ValueError:
            return f"signal {-self.code}"


@dataclass(frozen=True, slots=True)
class Forked:
    """The worker has become a process."""

    serial: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker's initializing() has returned and its subscriptions stand."""

    serial: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker ended, or could not be forked; `error` is its own last word, if it had one."""

    serial: int
    exit: Exit
    error: str = ""


@dataclass(frozen=True, slots=True)
class Unloadable:
    """The worker cannot be forked, now or later, because the class of its service cannot be loaded."""

    serial: int
    error: str


Event = Forked | Ready | Exited | Unloadable
