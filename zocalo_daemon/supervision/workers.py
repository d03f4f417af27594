"""Every worker that has not ended: asks for them, lets them finish, kills them, and minds their deadlines."""

from __future__ import annotations

from collections.abc import Callable

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.supervision.actions import Abort, Action, Drain, Kill, Spawn, Trace
from zocalo_daemon.supervision.slots import Slot, Timers, Worker

# Seconds between the stages by which a worker that hangs is ended. Tracebacks are written in milliseconds;
# after SIGABRT the kernel may write a core file.
TRACE_TIME, ABORT_TIME = 0.5, 2.0
SHARE = 0.9  # of max_messages and max_age, at least; so workers that started together are not spent together
REPLACEMENT_LIMIT = 60.0  # seconds, unless the service has a start_timeout


class Workers:
    """The workers by serial.

    Args:
        chance: a random number in [0, 1), for the jitter of recycling.
        emit: takes the actions, in order.
    """

    def __init__(self, timers: Timers, chance: Callable[[], float], emit: Callable[[Action], None]) -> None:
        self._timers = timers
        self._chance = chance
        self._emit = emit
        self._workers: dict[int, Worker] = {}
        self.latest = 0  # the serial of the youngest

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, serial: int) -> Worker | None:
        """Return a worker that has not ended, or None."""
        return self._workers.get(serial)

    def spawn(self, slot: Slot) -> Worker:
        """Ask for a worker with the service's present configuration."""
        self.latest += 1
        share = share_of(self._chance())
        worker = self._workers[self.latest] = Worker(self.latest, slot, share=share)
        config = slot.service.config
        self._emit(Spawn(worker.serial, slot.id, config, most_messages(config, share)))
        return worker

    def forked(self, worker: Worker, pid: int, now: float) -> None:
        """It is a process now: from here on its start is timed."""
        worker.pid, worker.started_at = pid, now
        if worker.ready_at is None and not worker.stopping:  # its own word may arrive before the forkserver's
            limit = start_limit(worker)
            self._timers.set(worker, None if limit is None else now + limit)

    def take_over(self, worker: Worker) -> None:
        """A replacement that still starts is the one now: what limited it as a replacement no longer does."""
        if start_limit(worker) is None and not worker.hung:
            self._timers.set(worker, None)

    def ready(self, worker: Worker, now: float) -> None:
        """It serves: it has no deadline any more, but that of its age."""
        worker.ready_at = now
        self.mind_age(worker, now)

    def mind_age(self, worker: Worker, now: float) -> None:
        """Have it recycled when it is `max_age` old, by the service's present configuration."""
        if worker.ready_at is not None and not worker.stopping and not worker.spent:
            age = worker.slot.service.config.max_age
            self._timers.set(worker, None if age is None else max(now, worker.ready_at + age * worker.share))

    def spent(self, worker: Worker, why: str) -> None:
        """It has done enough; a worker that is ending anyway does not need to be recycled."""
        if not worker.stopping and not worker.spent:
            worker.spent = why
            if worker.ready_at is not None:
                self._timers.set(worker, None)

    def drain(self, worker: Worker, now: float) -> None:
        """Let a worker finish the delivery in hand, within `stop_timeout`."""
        if not worker.stopping:
            worker.stopping = True
            self._timers.set(worker, now + worker.slot.service.config.stop_timeout)
            self._emit(Drain(worker.serial))

    def kill(self, worker: Worker) -> None:
        """End a worker."""
        if not worker.killed:
            worker.stopping = worker.killed = True
            self._timers.set(worker, None)
            self._emit(Kill(worker.serial))

    def hung(self, worker: Worker, what: str, now: float) -> None:
        """End a worker that makes no progress by stages: tracebacks, SIGABRT, SIGKILL. Once is enough."""
        if not (worker.hung or worker.killed):
            worker.stopping, worker.hung = True, what
            worker.note = f"killed, because it made {what}"
            self._timers.set(worker, now + TRACE_TIME)
            self._emit(Trace(worker.serial))

    def next_stage(self, worker: Worker, now: float) -> None:
        """A worker that hangs has not ended yet."""
        if worker.aborted:
            self.kill(worker)
            return
        worker.aborted = True
        self._timers.set(worker, now + ABORT_TIME)
        self._emit(Abort(worker.serial))

    def ended(self, worker: Worker) -> None:
        """Forget a worker."""
        del self._workers[worker.serial]
        self._timers.set(worker, None)


def start_limit(worker: Worker) -> float | None:
    """Return the seconds that a worker may take to become ready, or None.

    The replacement of a worker that serves always has a limit: a rolling restart must come to an end.
    """
    configured = worker.slot.service.config.start_timeout
    if configured is None and worker is worker.slot.candidate:
        return REPLACEMENT_LIMIT
    return configured


def late(worker: Worker) -> str:
    """Return what a worker has not done in time, to go after "because it"."""
    if worker.stopping:
        return f"had not stopped after {worker.slot.service.config.stop_timeout:g} s"
    limit = start_limit(worker)
    assert limit is not None, "a worker without a limit has no deadline"
    return f"was not ready after {limit:g} s"


def share_of(chance: float) -> float:
    """Return the share of its limits at which a worker is spent; `chance` is a random number in [0, 1)."""
    return SHARE + (1 - SHARE) * chance


def most_messages(config: ServiceConfig, share: float) -> int | None:
    """Return after how many messages a worker with that share is spent, None if never."""
    return None if config.max_messages is None else max(1, round(config.max_messages * share))
