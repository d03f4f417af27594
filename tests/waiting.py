"""Waiting for what takes as long as it takes: on a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DEADLINE = 45.0  # seconds; a busy machine takes what it takes, and one that is idle never waits so long


def wait_until(
    condition: Callable[[], Any], what: str = "", timeout: float = DEADLINE, every: float = 0.005
) -> Any:
    """Return the first true value of `condition()`.

    Args:
        what: is awaited, for the message of the failure.
        timeout, every: seconds, altogether and between looks.
    """
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout:g} s: {what or 'the condition'} ({value!r})"
        time.sleep(every)
    return value
