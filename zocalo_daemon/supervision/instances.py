"""What happens to one instance: it is wanted or not, its workers come and go (pure)."""

from __future__ import annotations

from collections.abc import Callable

from zocalo_daemon.supervision import restart, rolling
from zocalo_daemon.supervision.actions import Action, Announce
from zocalo_daemon.supervision.events import Exited
from zocalo_daemon.supervision.lifecycle import Effect, State, step
from zocalo_daemon.supervision.lifecycle import Event as Life
from zocalo_daemon.supervision.slots import Slot, Timers, Worker
from zocalo_daemon.supervision.watches import Watches
from zocalo_daemon.supervision.workers import Workers, start_limit

_GONE = {
    restart.Kind.AT_ONCE: Life.GONE_AT_ONCE,
    restart.Kind.LATER: Life.GONE_LATER,
    restart.Kind.REST: Life.GONE_FOR_GOOD,
    restart.Kind.GIVE_UP: Life.GONE_HOPELESSLY,
}


class Instances:
    """Steps instances through their lifecycle.

    Args:
        chance: a random number in [0, 1), for the jitter of backoff.
        emit: takes the actions, in order.
    """

    def __init__(
        self,
        workers: Workers,
        watches: Watches,
        timers: Timers,
        chance: Callable[[], float],
        emit: Callable[[Action], None],
    ) -> None:
        self._workers = workers
        self._watches = watches
        self._timers = timers
        self._chance = chance
        self._emit = emit

    # -- What is wanted

    def want(self, slot: Slot, now: float) -> None:
        """Start it, if it does not run."""
        slot.wanted = True
        self._step(slot, Life.UP, now)
        self._watches.settle(slot)

    def unwant(self, slot: Slot, now: float) -> None:
        """Let every worker of it finish, and let it rest."""
        slot.wanted, slot.reason = False, None
        rolling.discard_candidate(slot, self._workers)
        if slot.current is None and slot.retiring:
            slot.current, slot.retiring = slot.retiring, None
            self._step(slot, Life.LINGERS, now)
        self._step(slot, Life.DOWN, now)
        self._settle(slot)

    def renew(self, slot: Slot, now: float) -> None:
        """Give it a new worker: by a rolling restart if it serves, directly if it does not."""
        slot.wanted = True
        if slot.state is State.READY:
            rolling.ask(slot, self._workers)
        else:
            self._step(slot, Life.RENEW, now)
        self._watches.settle(slot)

    def due(self, slot: Slot, now: float) -> None:
        """Its backoff is over."""
        self._step(slot, Life.DUE, now)

    # -- What its workers do

    def forked(self, worker: Worker, pid: int, now: float) -> None:
        """A worker has become a process."""
        self._workers.forked(worker, pid, now)
        self._announce(worker.slot, "started", f"pid {pid}", pid=pid)

    def ready(self, worker: Worker, now: float) -> None:
        """A worker serves; one that is already to end is too late with that."""
        if worker.stopping:
            return
        slot = worker.slot
        self._workers.ready(worker, now)
        if worker is slot.candidate:
            rolling.promote(slot, self._workers, now)
        else:
            self._step(slot, Life.READY, now)
        slot.reason = None
        self._announce(slot, "ready", f"pid {worker.pid}" if worker.pid else "", pid=worker.pid)
        self._watches.settle(slot)

    def exited(self, worker: Worker, event: Exited, now: float) -> None:
        """A worker has ended, or could not be forked."""
        slot, said = worker.slot, _said(worker, event)
        if not _expected(worker, event):
            slot.last_exit = said
        if worker is slot.current:
            self._current_exited(slot, worker, event, now)
        elif worker is slot.candidate:
            slot.candidate = None
            self._announce_exit(worker, event, "the old worker stays")
            rolling.keep(slot, said, self._watches, self._emit)
        else:
            slot.retiring = None
            self._announce_exit(worker, event)
        self._settle(slot)

    def unloadable(self, worker: Worker, error: str, now: float) -> None:
        """A worker will never start: its class cannot be loaded, and trying again would not help."""
        slot = worker.slot
        if worker is slot.candidate:
            slot.candidate = None
            rolling.keep(slot, error, self._watches, self._emit)
        elif worker is slot.current:
            slot.current = None
            if slot.wanted:
                self._give_up(slot, error, now)
            else:
                self._drained(slot, now)
        else:
            slot.retiring = None
        self._settle(slot)

    def hung(self, worker: Worker, what: str, now: float) -> None:
        """A worker makes no progress: it is ended, and that counts like a crash."""
        if not (worker.hung or worker.killed):
            self._announce(worker.slot, "hung", what, pid=worker.pid)
            self._workers.hung(worker, what, now)

    def stalled(self, worker: Worker, why: str) -> None:
        """The kernel does not let a worker run, or does again (why "")."""
        if why != worker.stalled:
            worker.stalled = why
            pid = f"pid {worker.pid}"
            self._announce(worker.slot, "stalled" if why else "resumed", why or pid, pid=worker.pid)

    def spent(self, worker: Worker, why: str) -> None:
        """A worker has done enough: it is to be replaced as in a rolling restart."""
        worker.spent = worker.spent or why
        slot = worker.slot
        if worker is slot.current and slot.state is State.READY and not worker.stopping:
            slot.service.rolling.setdefault(slot.number, slot)

    def overdue(self, worker: Worker, now: float) -> None:
        """A worker is not ready, or has not ended, in time."""
        slot, config = worker.slot, worker.slot.service.config
        if worker.hung:
            self._workers.next_stage(worker, now)
            return
        if worker.stopping:
            worker.note = f"killed, because it had not stopped after {config.stop_timeout:g} s"
        else:
            limit = start_limit(worker)
            assert limit is not None, "a worker without a limit has no deadline"
            worker.note = f"killed, because it was not ready after {limit:g} s"
        if worker is slot.current:
            self._step(slot, Life.DUE, now)
        elif worker is slot.candidate:
            rolling.discard_candidate(slot, self._workers)
            rolling.keep(slot, worker.note, self._watches, self._emit)
        else:
            self._workers.kill(worker)

    # -- The worker that counts has ended

    def _current_exited(self, slot: Slot, worker: Worker, event: Exited, now: float) -> None:
        slot.current = None
        slot.lived += now - worker.started_at if worker.started_at is not None else 0.0
        if slot.state is State.DRAINING:
            self._announce_exit(worker, event)
            self._drained(slot, now)
            return
        slot.deaths.append(slot.lived)
        if slot.candidate:
            self._announce_exit(worker, event, "its replacement, which is starting, takes its place")
            slot.current, slot.candidate = slot.candidate, None
            self._workers.take_over(slot.current)
            slot.reason, slot.restarts = _said(worker, event), slot.restarts + 1
            self._step(slot, Life.TAKEN_OVER, now)
        else:
            self._replace(slot, worker, event, now)

    def _drained(self, slot: Slot, now: float) -> None:
        """The worker that was to finish has; an older one of an earlier restart may still be at it."""
        if slot.wanted:
            self._step(slot, Life.GONE_AT_ONCE, now)
        elif slot.retiring:
            slot.current, slot.retiring = slot.retiring, None
        else:
            self._step(slot, Life.GONE_FOR_GOOD, now)

    def _replace(self, slot: Slot, worker: Worker, event: Exited, now: float) -> None:
        config, said = slot.service.config.restart, _said(worker, event)
        while slot.lived - slot.deaths[0] > config.window:
            slot.deaths.popleft()
        verdict = restart.decide(
            config,
            slot.deaths,
            clean=event.exit.clean,
            was_ready=worker.ready_at is not None,
            now=slot.lived,
            chance=self._chance(),
        )
        match verdict.kind:
            case restart.Kind.GIVE_UP:
                self._announce_exit(worker, event)
                deaths = "1 death" if len(slot.deaths) == 1 else f"{len(slot.deaths)} deaths"
                within = f"within {config.window:g} s of running"
                self._give_up(slot, f"{deaths} {within}, the last one: {said}", now)
                return
            case restart.Kind.REST:
                then = f"not replaced, as its restart policy is {config.policy}"
                slot.reason = f"{said}; {then}"
            case restart.Kind.LATER:
                then = f"another is started in {verdict.delay:.1f} s"
                slot.reason, slot.restarts = said, slot.restarts + 1
            case restart.Kind.AT_ONCE:
                then = "another is started at once"
                slot.reason, slot.restarts = said, slot.restarts + 1
        self._announce_exit(worker, event, then)
        self._step(slot, _GONE[verdict.kind], now, verdict.delay)

    def _give_up(self, slot: Slot, reason: str, now: float) -> None:
        slot.reason = reason
        self._announce(slot, "failed", f"{reason}; to try again: zocaloctl start {slot.id}")
        self._step(slot, Life.GONE_HOPELESSLY, now)

    # -- How

    def _step(self, slot: Slot, event: Life, now: float, delay: float = 0.0) -> None:
        transition = step(slot.state, event)
        if transition.state is not slot.state:
            if slot.state is State.READY:
                rolling.leave(slot)
            slot.state = transition.state
            self._timers.set(slot, now + delay if slot.state is State.BACKOFF else None)
            if slot.state is State.STOPPED and not slot.wanted:
                self._announce(slot, "stopped", "")
        for effect in transition.effects:
            match effect:
                case Effect.FORGET_DEATHS:
                    slot.deaths.clear()
                case Effect.SPAWN:
                    slot.current = self._workers.spawn(slot)
                case Effect.DRAIN if slot.current:
                    self._workers.drain(slot.current, now)
                case Effect.KILL if slot.current:
                    self._workers.kill(slot.current)

    def _settle(self, slot: Slot) -> None:
        """Tell those who wait; forget an instance that was to leave and has stopped."""
        self._watches.settle(slot)
        if slot.leaving and slot.state is State.STOPPED:
            slot.service.slots.pop(slot.number, None)

    def _announce(self, slot: Slot, event: str, text: str, **data: object) -> None:
        self._emit(Announce(event, slot.id, text, data))

    def _announce_exit(self, worker: Worker, event: Exited, then: str = "") -> None:
        if worker.pid is None and _expected(worker, event):
            return  # nobody has heard of it
        said = _said(worker, event)
        text = f"{said}; {then}" if then else said
        self._announce(worker.slot, "exited", text, pid=worker.pid, code=event.exit.code)


def _said(worker: Worker, event: Exited) -> str:
    """Return how a worker ended and why, for people."""
    why = worker.note or event.error
    if worker.pid is None and why:
        return why
    return f"{event.exit}: {why}" if why else str(event.exit)


def _expected(worker: Worker, event: Exited) -> bool:
    """Return whether it ended because, and as, it was asked to."""
    return worker.stopping and not worker.note and (worker.killed or event.exit.clean)
