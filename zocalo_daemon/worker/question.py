"""What a thread asks the relay and waits for."""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Any

import workflows


class Wake:
    """A descriptor that is readable once somebody has called; closed with the last one who knows it."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __del__(self) -> None:
        os.close(self.descriptor)

    def call(self) -> None:
        """Make it readable."""
        os.eventfd_write(self.descriptor, 1)

    def has_to_read(self, line: socket.socket | None, timeout: float | None) -> bool:
        """Wait for a call or for something to read, at most `timeout` seconds; say if it is the latter."""
        if line is None or line.fileno() < 0:
            return True  # closed: whoever reads learns that
        poller = select.poll()
        for one in (line.fileno(), self.descriptor):
            poller.register(one, select.POLLIN)
        found = poller.poll(None if timeout is None else timeout * 1000)
        return any(one != self.descriptor for one, _ in found)


class Question:
    """A frame that is kept, and sent again if need be, until it is answered.

    Args:
        data: the frame's bytes.

    Attributes:
        wake: called with the answer, if somebody waits for something else besides.
    """

    __slots__ = ("answer", "data", "done", "problem", "wake")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.done = threading.Event()
        self.answer: Any = None
        self.problem: workflows.Error | None = None
        self.wake: Wake | None = None

    def end(self, answer: Any = None, problem: workflows.Error | None = None) -> None:
        """Answer it."""
        self.answer, self.problem = answer, problem
        self.done.set()
        if self.wake is not None:  # whoever sets it looks at `done` afterwards
            self.wake.call()
