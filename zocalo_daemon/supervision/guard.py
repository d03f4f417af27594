"""Watches over every process below the supervisor: workers that hang, and what the kernel does not let run.

Nothing polls. A worker is looked at when it would have made no progress for its `hang_timeout` if it has made
none since the last look; all workers with the same `hang_timeout` are looked at together, so that those with
nothing to do cost one wake-up in that time, however many they are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.supervision import liveness, stops
from zocalo_daemon.supervision.events import Event, Hung, Stalled
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.worker_process import Process
from zocalo_daemon.supervision.workers import most_messages, share_of

SPACING = 0.1  # seconds between two looks at the same workers, at least
KILL_TIME = 2.0  # seconds after SIGKILL; a large process may need some of it to give back its memory


class Guard:
    """Reports Hung and Stalled, and says which helpers are stopped.

    Args:
        helpers: returns the pids and names of relay and forkservers.
        services: returns the services of the configuration as it is now.
        after: calls a function after some seconds.
        report: gets the events for the roster.
        tell: gets what there is to say of a helper: (event, process, text).
    """

    CARRIED = ("_stopped",)

    def __init__(
        self,
        fleet: Fleet,
        *,
        helpers: Callable[[], Mapping[int, str]],
        services: Callable[[], Mapping[str, ServiceConfig]],
        after: Callable[[float, Callable[[], None]], None],
        report: Callable[[Event], None],
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._fleet = fleet
        self._helpers = helpers
        self._services = services
        self._after = after
        self._report = report
        self._tell = tell
        self._armed: set[float] = set()  # every `hang_timeout` for which a look is due
        self._stopped: dict[int, str] = {}  # pid: name of the signal

    def resume(self, killed: Iterable[int]) -> None:
        """Watch what another code of the daemon has watched; it had killed some workers."""
        self.children_changed()
        self.refresh()
        for serial in killed:
            self.killed(serial)

    # -- Workers that hang

    def forked(self, serial: int) -> None:
        """Watch a worker from its beginning."""
        worker = self._fleet.processes[serial]
        limit = worker.service.hang_timeout
        if limit is not None and limit not in self._armed:
            self._arm(limit, limit)
        if worker.pid in self._stopped:
            self._worker_changed(worker, self._stopped[worker.pid])

    def refresh(self) -> None:
        """Take in a new configuration: the limits of workers that run already may be others."""
        for worker in self._fleet.processes.values():
            old, worker.service = worker.service, self._services().get(worker.service.name, worker.service)
            if (old.max_messages, old.max_rss) != (worker.service.max_messages, worker.service.max_rss):
                self._limit_anew(worker)
        limits = {worker.service.hang_timeout for worker in self._fleet.processes.values()}
        for limit in limits - self._armed:
            if limit is not None:
                self._arm(limit, 0.0)

    def _limit_anew(self, worker: Process) -> None:
        messages = most_messages(worker.service, share_of(random.random()))
        self._fleet.limit(worker, max_messages=messages, max_rss=worker.service.max_rss)

    def _arm(self, limit: float, seconds: float) -> None:
        self._armed.add(limit)
        self._after(seconds, lambda: self._look(limit))

    def _look(self, limit: float) -> None:
        self._armed.discard(limit)
        again = []
        hung = []
        for worker in self._fleet.processes.values():
            if worker.pid and not worker.hung and worker.service.hang_timeout == limit:
                verdict = self._judge(worker, limit)
                if verdict.hung:
                    worker.hung = True
                    hung.append(Hung(worker.serial, verdict.hung + self._sleeping(worker)))
                else:
                    again.append(verdict.again)
        if again:
            self._arm(limit, max(min(again) - time.monotonic(), SPACING))
        for event in hung:
            self._report(event)

    def _judge(self, worker: Process, limit: float) -> liveness.Verdict:
        def look() -> liveness.Verdict:
            entry = self._fleet.board.read(worker.board)
            return liveness.judge(
                entry,
                worker.phase,
                since=worker.since,
                limit=limit,
                now=time.monotonic(),
                stopped=worker.stopped,
            )

        verdict = look()
        # Once more: it may have gone on while its entry was read, number after number.
        return look() if verdict.hung else verdict

    def _sleeping(self, worker: Process) -> str:
        place = stops.deep_sleep(worker.pid)
        return f", in uninterruptible sleep in {place}" if place else ""

    # -- What the kernel does not let run

    def children_changed(self) -> None:
        """SIGCHLD: see which children were stopped, or go on."""
        for pid, name in stops.changes():
            if name:
                self._stopped[pid] = name
            else:
                self._stopped.pop(pid, None)
            worker = next((one for one in self._fleet.processes.values() if one.pid == pid), None)
            if worker:
                self._worker_changed(worker, name)
            elif (helper := self._helpers().get(pid)) is not None:
                event, text = ("stalled", stops.advice(name, pid)) if name else ("resumed", f"pid {pid}")
                self._tell(event, helper, text)
        for pid in [pid for pid in self._stopped if not stops.is_stopped(pid)]:
            del self._stopped[pid]  # it has died

    def trouble(self, pid: int) -> str | None:
        """Return why a helper does not run, if a signal has stopped it."""
        return stops.advice(self._stopped[pid], pid) if pid in self._stopped else None

    def killed(self, serial: int) -> None:
        """See whether a worker ends that was killed."""
        self._after(KILL_TIME, lambda: self._still_there(serial))

    def _still_there(self, serial: int) -> None:
        worker = self._fleet.processes.get(serial)
        if worker is None:
            return
        if place := stops.deep_sleep(worker.pid):
            why = f"killed, but in uninterruptible sleep in {place}: it ends when that does"
            self._report(Stalled(serial, why))
        self._after(KILL_TIME, lambda: self._still_there(serial))

    def _worker_changed(self, worker: Process, name: str) -> None:
        worker.stopped, worker.since = name, time.monotonic()
        self._report(Stalled(worker.serial, stops.advice(name, worker.pid) if name else ""))
