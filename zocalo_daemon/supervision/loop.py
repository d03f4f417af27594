"""The supervisor's one wait: descriptors and deadlines. Nothing else in the supervisor sleeps."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable

LONGEST_SLEEP = 86400.0  # seconds


class Loop:
    """A selector whose keys carry a function of the event mask as data, and timers."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Call `what` after so many seconds."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), what))

    def turn(self, deadline: float | None) -> None:
        """Wait until something happens, at most until `deadline` (monotonic seconds), and see to it."""
        for key, mask in self.selector.select(self._sleep(deadline)):
            # An earlier callback of this turn may have closed it, and another have got its number.
            if self.selector.get_map().get(key.fd) is key:
                key.data(mask)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _sleep(self, deadline: float | None) -> float | None:
        deadlines = [deadline, self._timers[0][0] if self._timers else None]
        known = [one for one in deadlines if one is not None]
        # epoll takes no more than 2³¹ milliseconds, and a restart may be due later than that.
        return min(max(0.0, min(known) - time.monotonic()), LONGEST_SLEEP) if known else None
