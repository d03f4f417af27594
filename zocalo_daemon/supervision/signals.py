"""Signals as events of the loop: the handlers do nothing, the wake-up descriptor tells (PEP 475)."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable

WANTED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


class Signals:
    """Calls `handle` from the loop, once for all signals of a kind that came since the last time."""

    def __init__(self, selector: selectors.BaseSelector, handle: Callable[[signal.Signals], None]) -> None:
        self._handle = handle
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in WANTED:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WANTED)  # blocked since before the execve(2) of a reexec
        selector.register(self._read, selectors.EVENT_READ, self._ready)

    def _ready(self, _mask: int) -> None:
        for number in set(self._read.recv(4096)):
            self._handle(signal.Signals(number))
