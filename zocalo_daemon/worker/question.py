"""What a thread asks the relay and waits for."""

from __future__ import annotations

import threading
from typing import Any

import workflows


class Question:
    """A frame that is kept, and sent again if need be, until it is answered.

    Args:
        data: the frame's bytes.
    """

    __slots__ = ("answer", "data", "done", "problem")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.done = threading.Event()
        self.answer: Any = None
        self.problem: workflows.Error | None = None

    def end(self, answer: Any = None, problem: workflows.Error | None = None) -> None:
        """Answer it."""
        self.answer, self.problem = answer, problem
        self.done.set()
