"""Idle timers of services that are never idle.

CommonService runs the function of `_register_idle` when no message has come for that long. Where messages
keep coming it would never run: what a service collects would not be written, and its time-outs not come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

LEAST = (
    1.0  # seconds: under load, a timer of milliseconds is for polling and would take what the messages need
)
# What these mean is the end of a service that has nothing to do: one that is busy has not.
_ENDINGS = ("_shutdown", "_request_termination")

Callback = Callable[..., Any]


class IdleTimer:
    """Knows when a timer ran last, and runs it between two messages once it is overdue.

    Args:
        register: `_register_idle` of CommonService, bound to the service.
        now: a clock, in seconds.
    """

    def __init__(self, register: Callback, now: Callable[[], float] = time.monotonic) -> None:
        self._register = register
        self._now = now
        self._run: Callable[[], Any] | None = None
        self._due = 0.0

    def register(self, idle_time: float, callback: Callback) -> None:
        """Stand for `_register_idle`: seconds, and a function without arguments."""
        wait = max(idle_time or 0.0, LEAST)

        def run() -> Any:
            self._due = self._now() + wait
            try:
                return callback()
            finally:
                self._due = self._now() + wait

        self._due = self._now() + wait
        self._run = None if callback is None or getattr(callback, "__name__", "") in _ENDINGS else run
        self._register(idle_time, callback if self._run is None else run)

    def between(self, intercept: Callable[[Callback], Callback]) -> Callable[[Callback], Callback]:
        """Return an interceptor of callbacks after which an overdue timer runs, where they run."""

        def interceptor(callback: Callback) -> Callback:
            def then_look(header: Any, message: Any) -> None:
                callback(header, message)
                if self._run is not None and self._now() >= self._due:
                    self._run()

            return intercept(then_look)

        return interceptor


def attend(service: Any) -> None:
    """Have a service's idle timer run under load too; before it is started."""
    timer = IdleTimer(service._register_idle)
    service._register_idle = timer.register
    if service._idle_callback is not None:  # registered by its constructor
        timer.register(service._idle_time, service._idle_callback)
    service._transport_interceptor = timer.between(service._transport_interceptor)
