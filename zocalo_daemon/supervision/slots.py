"""What the roster remembers: workers, instances (slots), services, watches, timers. Values, no decisions."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.supervision import restart
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.values import Record, field


class Worker(Record):
    """One process, or one that is about to be.

    Args:
        pid: None until it was forked.
        stopping: it was asked to finish, or killed.
        due: when it must be ready, or gone; monotonic seconds, as all times here.
        note: why it was killed, if it was for being too slow.
        hung: what it makes no progress with, once that is known; it is being ended.
        aborted: it was sent SIGABRT.
        stalled: why the kernel does not let it run, "" if it does.
        spent: why it is to be recycled, "" if it is not.
        retries: how often no replacement of it became ready since it is spent.
        share: of `max_messages` and `max_age` that count for it, 0.9 to 1.
    """

    serial: int
    slot: Slot
    pid: int | None = None
    started_at: float | None = None
    ready_at: float | None = None
    stopping: bool = False
    killed: bool = False
    due: float | None = None
    note: str = ""
    hung: str = ""
    aborted: bool = False
    stalled: str = ""
    spent: str = ""
    retries: int = 0
    share: float = 1.0


class Slot(Record):
    """One instance. At most two workers at any time: the one that counts (`current`), and beside it either
    a replacement that starts (`candidate`, only while the current one serves) or an old one that finishes
    (`retiring`).

    Args:
        leaving: to be forgotten once it has stopped; never wanted again, unless its service grows.
        lived: seconds that its workers have lived, all together.
        deaths: when workers of it died, on the clock of `lived`; those that may count for the limit.
        cause: why it is not ready, or why it still has its old worker.
        due: when its next worker is started, in backoff; when its recycling is tried again, if it serves.
        fresh: the worker that starts is the first since somebody wanted the instance.
        again: the worker that starts comes after a backoff.
        waits: for which other services it waits before it starts or, not wanted any more, stops.
        limited: its worker is not started yet because of the limit for all restarts.
        asked: somebody has asked for its rolling restart; without that, its worker is just spent.
    """

    service: Service
    number: int
    state: State = State.STOPPED
    wanted: bool = False
    leaving: bool = False
    current: Worker | None = None
    candidate: Worker | None = None
    retiring: Worker | None = None
    lived: float = 0.0
    deaths: deque[float] = field(default_factory=deque)
    restarts: int = 0
    last_exit: str | None = None
    cause: str | None = None
    due: float | None = None
    fresh: bool = False
    again: bool = False
    waits: str = ""
    limited: bool = False
    asked: bool = False

    @property
    def id(self) -> str:
        """Return what the instance is called: `service/N`."""
        return f"{self.service.config.name}/{self.number}"

    @property
    def reason(self) -> str | None:
        """Return what people should know about it: why it is not as they expect."""
        worker = self.current
        if worker and (worker.hung or worker.stalled):
            return worker.hung or worker.stalled
        if self.limited:
            return f"{self.cause}; {restart.LIMITED}"
        return self.waits or self.cause


class Service(Record):
    """One service; `count` is the number of instances wanted now, which `scale` may have changed.

    Args:
        slots: in the order of their numbers.
        rolling: the instances that a rolling restart has still to do, the present one first. Each of them
            serves and is wanted.
        waiting: the instances that wait for other services, to start or to stop.
        followed: there are services that come after this one.
        removed: no longer configured; it is forgotten with its last instance.
    """

    config: ServiceConfig
    count: int
    slots: dict[int, Slot] = field(default_factory=dict)
    rolling: OrderedDict[int, Slot] = field(default_factory=OrderedDict)
    waiting: dict[int, Slot] = field(default_factory=dict)
    followed: bool = False
    removed: bool = False


class Watch(Record):
    """Somebody waits until each of `pending` is up (True) or down (False)."""

    number: int
    pending: dict[str, bool]
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
