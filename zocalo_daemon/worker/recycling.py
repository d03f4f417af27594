"""When a worker has done enough: looked at as a callback ends, so an idle one never wakes up for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zocalo_daemon.worker.board import Notes

_SECOND = 10**9  # nanoseconds
_LOOK = _SECOND  # between two looks at the memory, which cost some microseconds
_REPEAT = 60 * _SECOND  # until it is said again, in case the replacement did not become ready
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes


class Recycling:
    """Says that a worker is to be recycled.

    Args:
        max_messages: how many callbacks it may run; None for any number.
        max_rss: bytes of resident memory that it may use; None for any number.
        tell: called with the reason, in words.
        rss: returns the bytes of resident memory that it uses.
    """

    def __init__(
        self,
        max_messages: int | None,
        max_rss: int | None,
        tell: Callable[[str], None],
        rss: Callable[[], int],
    ) -> None:
        self._max_messages = max_messages
        self._max_rss = max_rss
        self._tell = tell
        self._rss = rss
        self._next_look = self._next_word = 0

    def look(self, ended: int, now: int) -> None:
        """A callback has ended, which makes `ended` in all; `now` in monotonic nanoseconds."""
        if self._max_messages is not None and ended >= self._max_messages:
            if now >= self._next_word:
                self._say(f"{ended:,} messages", now)
        elif self._max_rss is not None and now >= self._next_look:
            self._next_look = now + _LOOK
            used = self._rss()
            if used > self._max_rss and now >= self._next_word:
                self._say(f"RSS {_size(used)}", now)

    def _say(self, why: str, now: int) -> None:
        self._next_word = now + _REPEAT
        self._tell(why)


def limiter(notes: Notes, tell: Callable[[str], None]) -> Callable[[dict[str, Any]], None]:
    """Return a function that has limits count: max_messages and max_rss of a map, None is none."""

    def limit(limits: dict[str, Any]) -> None:
        max_messages, max_rss = limits.get("max_messages"), limits.get("max_rss")
        limited = max_messages is not None or max_rss is not None
        notes.on_end = Recycling(max_messages, max_rss, tell, resident_memory).look if limited else None

    return limit


def resident_memory() -> int:
    """Return the bytes of resident memory of this process (proc_pid_statm(5)); 0 if that cannot be read."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:  # no descriptors left
        return 0


def _size(number: int) -> str:
    mebibytes = number / 1024**2
    return f"{mebibytes:.1f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"
