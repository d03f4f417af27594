"""What the roster remembers: workers, instances (slots), services, watches, timers. Values, no decisions."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.supervision.lifecycle import State


@dataclass(slots=True, eq=False)
class Worker:
    """One process, or one that is about to be; `due` is when it must be ready, or gone."""

    serial: int
    slot: Slot
    service: ServiceConfig  # as it was when this worker was wanted
    pid: int | None = None
    ready_at: float | None = None
    started_at: float | None = None
    stopping: bool = False
    due: float | None = None
    note: str = ""  # why the supervisor killed it, if it did


@dataclass(slots=True, eq=False)
class Slot:
    """One instance. At most one worker serves (`current`); during a rolling restart its replacement
    (`candidate`) starts beside it, and afterwards the old one (`retiring`) finishes."""

    service: Service
    number: int
    state: State = State.STOPPED
    wanted: bool = False
    leaving: bool = False  # to be forgotten once it is stopped
    current: Worker | None = None
    candidate: Worker | None = None
    retiring: Worker | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    restarts: int = 0
    last_exit: str | None = None
    reason: str | None = None
    due: float | None = None

    @property
    def id(self) -> str:
        """Return what the instance is called: `service/N`."""
        return f"{self.service.config.name}/{self.number}"


@dataclass(slots=True, eq=False)
class Service:
    """One service; `count` is the number of instances wanted now, which `scale` may have changed.

    `rolling` holds the instances that a rolling restart has still to do, the present one first.
    """

    config: ServiceConfig
    count: int
    slots: dict[int, Slot] = field(default_factory=dict)
    rolling: deque[int] = field(default_factory=deque)
    removed: bool = False


@dataclass(slots=True, eq=False)
class Watch:
    """Somebody waits until each of `pending` is up (or down)."""

    number: int
    up: bool
    pending: set[str]
    results: list[dict[str, object]] = field(default_factory=list)
    due: float | None = None


class Timers:
    """Deadlines of workers, slots and watches: each holds its own `due`, an entry that differs is void."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Worker | Slot | Watch]] = []
        self._count = 0

    def set(self, owner: Worker | Slot | Watch, due: float | None) -> None:
        """Give `owner` another deadline, or none."""
        owner.due = due
        if due is not None:
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, owner))

    def next(self) -> float | None:
        """Return the earliest deadline."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Worker | Slot | Watch | None:
        """Return an owner whose deadline has come, its deadline cleared; None if there is none."""
        due = self.next()
        if due is None or due > now:
            return None
        owner = heapq.heappop(self._heap)[2]
        owner.due = None
        return owner
