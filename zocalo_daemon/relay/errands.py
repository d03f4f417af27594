"""Calls that take their time, each in a thread of its own, their results brought back into the loop.

For questions of operators to a broker over the network: messages must not wait for them.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from zocalo_daemon.errors import Unavailable, ZocaloError

LIMIT = 8  # at once; a broker that hangs must not collect threads

Done = Callable[[Any, ZocaloError | None], None]


class Errands:
    """The threads; `fileno` is readable when `collect` has something to do."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ended: deque[tuple[Done, Any, ZocaloError | None]] = deque()  # appending is atomic
        self._running = 0

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._wake

    def run(self, work: Callable[[], Any], done: Done) -> None:
        """Call `work` in a thread, and `done` with its result or error from `collect`.

        Raises:
            Unavailable: too many have not come back.
        """
        if self._running >= LIMIT:
            raise Unavailable("the brokers have not answered earlier questions yet; try again")
        self._running += 1
        threading.Thread(target=self._work, args=(work, done), name="errand", daemon=True).start()

    def collect(self) -> None:
        """Hand over what has come back."""
        os.eventfd_read(self._wake)
        while self._ended:
            done, result, error = self._ended.popleft()
            self._running -= 1
            done(result, error)

    def _work(self, work: Callable[[], Any], done: Done) -> None:
        result, error = None, None
        try:
            result = work()
        except ZocaloError as e:
            error = e
        except Exception as e:  # whatever a library raises is an answer, not a thread that dies with it
            error = ZocaloError(f"{type(e).__name__}: {e}")
        self._ended.append((done, result, error))
        os.eventfd_write(self._wake, 1)
