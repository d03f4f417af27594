"""Every worker that has not ended: asks for them, lets them finish, kills them, and minds their deadlines."""

from __future__ import annotations

from collections.abc import Callable

from zocalo_daemon.supervision.actions import Action, Drain, Kill, Spawn
from zocalo_daemon.supervision.slots import Slot, Timers, Worker


class Workers:
    """The workers by serial.

    Args:
        emit: takes the actions, in order.
    """

    def __init__(self, timers: Timers, emit: Callable[[Action], None]) -> None:
        self._timers = timers
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
        worker = self._workers[self.latest] = Worker(self.latest, slot)
        self._emit(Spawn(worker.serial, slot.id, slot.service.config))
        return worker

    def forked(self, worker: Worker, pid: int, now: float) -> None:
        """It is a process now; from here on its start takes as long as it takes, within `start_timeout`."""
        worker.pid, worker.started_at = pid, now
        if worker.ready_at is None and not worker.stopping:  # its own word may arrive before the forkserver's
            self._timers.set(worker, now + worker.slot.service.config.start_timeout)

    def ready(self, worker: Worker, now: float) -> None:
        """It serves: no deadline any more."""
        worker.ready_at = now
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

    def ended(self, worker: Worker) -> None:
        """Forget a worker."""
        del self._workers[worker.serial]
        self._timers.set(worker, None)
