"""The standard output and error of a process below the supervisor: its lines go to the log book."""

from __future__ import annotations

import contextlib
import os
import selectors
from typing import Any

from zocalo_daemon.supervision.handover import Leaving, Taking
from zocalo_daemon.supervision.logs import PORTION, LineSplitter, LogBook, Ring

LEVEL = 20  # of every line: logging.INFO, for a process that writes says no level
LAST_PORTIONS = 64  # read from a process that has ended: others may hold its pipe open, and go on writing


class LogPipe:
    """The read end of a log pipe, read whenever there is something.

    Args:
        fd: the read end, non-blocking; it is this object's from here on.
        source: whose lines these are in the log book.
        rest: of a line that was read before.
    """

    def __init__(
        self, fd: int, source: str, selector: selectors.BaseSelector, logbook: LogBook, rest: bytes = b""
    ) -> None:
        self._fd = fd
        self._source = source
        self._selector = selector
        self._log = logbook
        self.tail: Ring | None = None  # keeps the latest lines of this process alone
        self._splitter = LineSplitter(rest)
        selector.register(fd, selectors.EVENT_READ, lambda _mask: self._read())

    def inode(self) -> int:
        """Return the number of the pipe, the same at both of its ends."""
        return os.fstat(self._fd).st_ino

    def hand_over(self, leaving: Leaving) -> dict[str, Any]:
        """Return what `take_over` makes this pipe of in the new code."""
        return {"fd": leaving.keep(self._fd), "source": self._source, "rest": self._splitter.rest}

    @classmethod
    def take_over(
        cls, state: dict[str, Any], taking: Taking, selector: selectors.BaseSelector, logbook: LogBook
    ) -> LogPipe:
        """Go on with the pipe of the old code."""
        return cls(taking.pipe(state["fd"]), state["source"], selector, logbook, state["rest"])

    def finish(self) -> None:
        """Read what is left of a process that has ended, and close the pipe."""
        for _ in range(LAST_PORTIONS):
            if not self._read():
                break
        self._add(self._splitter.end())
        self._unwatch()
        os.close(self._fd)

    def _read(self) -> bool:
        """Read one portion; return whether there may be more."""
        try:
            data = os.read(self._fd, PORTION)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._unwatch()
            return False
        self._add(self._splitter.feed(data))
        return True

    def _add(self, lines: list[str]) -> None:
        for line in lines:
            self._log.add(self._source, LEVEL, line, tail=self.tail)

    def _unwatch(self) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._fd)
