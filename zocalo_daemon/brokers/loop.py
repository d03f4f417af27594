"""Descriptors and timers of a driver that speaks to a network, without a thread of its own.

An epoll descriptor is itself readable while one of its descriptors is ready (epoll(7)), so the relay's loop
watches that one alone, and calls `turn` after it has woken up.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
Callback = Callable[[], None]


class Timer:
    """A call to be made later; `callback` is None once it is made or cancelled."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback


class Loop:
    """What a driver waits for.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._poller = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._soon: deque[Callback] = deque()  # appending and popping are atomic: threads may append
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = threading.Lock()  # a thread must not wake what has the descriptor after it is closed
        self.add(self._wake, READ, lambda _: None)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `turn` has something to do."""
        return self._poller.fileno()

    def close(self) -> None:
        """Give the descriptors back."""
        with self._closing:
            self._poller.close()
            os.close(self._wake)
            self._wake = -1

    def add(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        """Have `handler` called with the events of a descriptor."""
        self._handlers[descriptor] = handler
        self._poller.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._poller.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor."""
        if self._handlers.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call back in `delay` seconds."""
        timer = Timer(self.clock() + delay, callback)
        heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Do not make that call."""
        timer.callback = None

    def call_soon(self, callback: Callback) -> None:
        """Call back in the next turn; any thread may ask for it, also when the loop is closed."""
        self._soon.append(callback)
        with self._closing:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def timeout(self) -> float | None:
        """Return the seconds until `turn` must be called, or None."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if self._soon:
            return 0.0
        return max(0.0, self._timers[0][0] - self.clock()) if self._timers else None

    def turn(self, timeout: float = 0.0) -> None:
        """Handle what is ready and due, waiting for it at most `timeout` seconds."""
        left = self.timeout()
        for descriptor, events in self._poller.poll(timeout if left is None else min(timeout, left)):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
                continue
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler(events)
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        now = self.clock()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
