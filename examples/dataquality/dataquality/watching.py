"""Which images are new, and whether to go on waiting: the decisions of a file watcher.

All state is in the message that the watcher sends to itself, so that any instance can go on with it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


class Outcome(enum.Enum):
    """What a look at the directory has led to."""

    MORE = "more"  # images may be left: look again at once
    WAIT = "wait"  # none is new: look again later
    DONE = "done"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Watch:
    """What to wait for, from the recipe.

    Args:
        pattern: file name with one %-format for the number, as in scan_%05d.tif.
        start, end: first and last number.
        timeout: seconds without a new image after which to give up.
        timeout_first: the same for the first image.
        burst: most images to pass on at once.
        interval: seconds between two looks when nothing is new.
    """

    pattern: str
    start: int
    end: int
    timeout: float
    timeout_first: float
    burst: int
    interval: float

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> Watch:
        """Return what the parameters of a recipe step say; numbers may be text, as recipes fill them in.

        Raises:
            ValueError: one is missing, or makes no sense.
        """
        timeout = parameters.get("timeout", 3600)
        try:
            watch = cls(
                pattern=str(parameters["pattern"]),
                start=int(parameters["pattern-start"]),
                end=int(parameters["pattern-end"]),
                timeout=float(timeout),
                timeout_first=float(parameters.get("timeout-first", timeout)),
                burst=int(parameters.get("burst-limit", 40)),
                interval=float(parameters.get("interval", 1)),
            )
            watch.path(watch.start)
        except KeyError as e:
            raise ValueError(f"the recipe step lacks the parameter {e}") from None
        except TypeError:
            raise ValueError("the pattern must hold one number, as in scan_%05d.tif") from None
        if watch.end < watch.start or watch.burst < 1 or watch.interval <= 0:
            raise ValueError(
                "the range of images is empty, or the burst limit or the interval is not positive"
            )
        return watch

    @property
    def expected(self) -> int:
        """Return how many images there will be."""
        return self.end - self.start + 1

    def path(self, number: int) -> str:
        """Return the path of an image."""
        return self.pattern % number


@dataclass(frozen=True, slots=True)
class State:
    """How far a watch is. Times are seconds since the epoch: they must make sense on another machine."""

    seen: int
    began: float
    progress: float

    @classmethod
    def from_payload(cls, payload: Any, now: float) -> State:
        """Return the state in a message, or that of a new watch."""
        status = payload.get("filewatcher-status") if isinstance(payload, dict) else None
        return cls(**status) if isinstance(status, dict) else cls(0, now, now)

    def payload(self) -> dict[str, Any]:
        """Return the message that carries this state."""
        return {"filewatcher-status": asdict(self)}


def look(
    watch: Watch, state: State, now: float, exists: Callable[[str], bool]
) -> tuple[list[int], State, Outcome]:
    """Return the numbers of the new images, the state after them, and what to do then.

    Images are taken in order: one that is late holds up those after it, so that nobody downstream ever
    sees them out of order because of the file system.
    """
    number = watch.start + state.seen
    found: list[int] = []
    while number <= watch.end and len(found) < watch.burst and exists(watch.path(number)):
        found.append(number)
        number += 1
    seen = state.seen + len(found)
    if seen == watch.expected:
        return found, State(seen, state.began, now), Outcome.DONE
    if found:
        outcome = Outcome.MORE if len(found) == watch.burst else Outcome.WAIT
        return found, State(seen, state.began, now), outcome
    limit = watch.timeout if state.seen else watch.timeout_first
    return [], state, Outcome.TIMEOUT if now - state.progress >= limit else Outcome.WAIT
