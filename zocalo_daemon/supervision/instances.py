"""What happens to one instance: it is wanted or not, its workers come and go (pure)."""

from __future__ import annotations

from collections.abc import Callable

from zocalo_daemon.supervision import endings, order, restart, rolling
from zocalo_daemon.supervision.actions import Action, Announce
from zocalo_daemon.supervision.events import Exited
from zocalo_daemon.supervision.lifecycle import Effect, State, step
from zocalo_daemon.supervision.lifecycle import Event as Life
from zocalo_daemon.supervision.slots import Slot, Timers, Worker
from zocalo_daemon.supervision.watches import Watches
from zocalo_daemon.supervision.workers import Workers, late

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
        self._allowance = restart.Allowance()
        self._emit = emit

    # -- What is wanted

    def want(self, slot: Slot, now: float) -> None:
        """Start it, if it does not run."""
        slot.wanted, slot.cause = True, slot.cause if slot.wanted else None
        if slot.number in slot.service.waiting and slot.state is State.READY:
            # It was to stop once others have. Who stops and starts it expects a new worker.
            order.leave(slot)
            rolling.ask(slot, self._workers)
        self._step(slot, Life.UP, now)
        self._watches.settle(slot)

    def unwant(self, slot: Slot, now: float, why: str | None = None) -> None:
        """Let every worker of it finish, and let it rest; `why` is for people."""
        slot.wanted, slot.cause = False, why
        rolling.discard_candidate(slot, self._workers)
        if slot.current is None and slot.retiring:
            slot.current, slot.retiring = slot.retiring, None
            self._step(slot, Life.LINGERS, now)
        if slot.state is State.READY and slot.service.followed:
            rolling.leave(slot)
            self._timers.set(slot, None)
            order.hold(slot)
        elif slot.state is State.STARTING and slot.current is None:
            self._step(slot, Life.GONE_FOR_GOOD, now)
        else:
            self._step(slot, Life.DOWN, now)
        self._settle(slot)

    def renew(self, slot: Slot, now: float) -> None:
        """Give it a new worker: by a rolling restart if it serves, directly if it does not."""
        slot.wanted, slot.cause = True, slot.cause if slot.wanted else None
        if slot.state is State.READY:
            order.leave(slot)
            self._timers.set(slot, None)
            rolling.ask(slot, self._workers)
        elif slot.current or slot.state is not State.STARTING:  # else a new worker is what it waits for
            self._step(slot, Life.RENEW, now)
        self._watches.settle(slot)

    def turn(self, slot: Slot, now: float) -> None:
        """It has waited for other services, to start or to stop, and need not any more."""
        order.leave(slot)
        self._step(slot, Life.TURN if slot.wanted else Life.DOWN, now)

    def due(self, slot: Slot, now: float) -> None:
        """Its backoff is over; or it serves, and its recycling is tried again."""
        rolling.recycle(slot)
        wait = 0.0
        if slot.state is State.BACKOFF and not slot.limited:
            wait = self._allowance.take(now, self._chance())
        if wait:
            slot.limited = True
            self._timers.set(slot, now + wait)
        else:
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
            self._timers.set(slot, None)
            old = rolling.promote(slot, self._workers, now)
            if old and old.spent:
                self._announce(slot, "recycled", old.spent, pid=old.pid)
        else:
            self._step(slot, Life.READY, now)
        slot.cause = None
        rolling.recycle(slot)
        self._announce(slot, "ready", f"pid {worker.pid}" if worker.pid else "", pid=worker.pid)
        self._watches.settle(slot)

    def exited(self, worker: Worker, event: Exited, now: float) -> None:
        """A worker has ended, or could not be forked."""
        slot, said = worker.slot, endings.said(worker, event)
        if not endings.expected(worker, event):
            slot.last_exit = said
        if worker is slot.current:
            self._current_exited(slot, worker, event, now)
        elif worker is slot.candidate:
            slot.candidate = None
            self._announce_exit(worker, event, "the old worker stays")
            self._keep(slot, said, now)
        else:
            slot.retiring = None
            self._announce_exit(worker, event)
        self._settle(slot)

    def unloadable(self, worker: Worker, error: str, now: float) -> None:
        """A worker will never start: its class cannot be loaded, and trying again would not help."""
        slot = worker.slot
        if worker is slot.candidate:
            slot.candidate = None
            self._keep(slot, error, now)
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
        self._workers.spent(worker, why)
        rolling.recycle(worker.slot)

    def overdue(self, worker: Worker, now: float) -> None:
        """A worker is not ready, or has not ended, in time; or it hangs, or is old."""
        slot = worker.slot
        if worker.hung:
            self._workers.next_stage(worker, now)
            return
        if worker.ready_at is not None and not worker.stopping:
            self.spent(worker, f"age {now - worker.ready_at:,.0f} s")
            return
        worker.note = f"killed, because it {late(worker)}"
        if worker is slot.current:
            self._step(slot, Life.DUE, now)
        elif worker is slot.candidate:
            rolling.discard_candidate(slot, self._workers)
            self._keep(slot, worker.note, now)
        else:
            self._workers.kill(worker)

    # -- The worker that counts has ended

    def _current_exited(self, slot: Slot, worker: Worker, event: Exited, now: float) -> None:
        slot.current = None
        slot.lived += now - worker.started_at if worker.started_at is not None else 0.0
        if not slot.wanted and slot.state is State.READY:
            self._step(slot, Life.DOWN, now)  # which had to wait for other services
        if slot.state is State.DRAINING:
            self._announce_exit(worker, event)
            self._drained(slot, now)
            return
        if not event.refused:
            slot.deaths.append(slot.lived)
        if slot.candidate:
            self._announce_exit(worker, event, "its replacement, which is starting, takes its place")
            slot.current, slot.candidate = slot.candidate, None
            self._workers.take_over(slot.current)
            slot.cause, slot.restarts = endings.said(worker, event), slot.restarts + 1
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
        config, said = slot.service.config.restart, endings.said(worker, event)
        while slot.deaths and slot.lived - slot.deaths[0] > config.window:
            slot.deaths.popleft()
        verdict = restart.decide(
            config,
            slot.deaths,
            clean=event.exit.clean,
            was_ready=worker.ready_at is not None,
            now=slot.lived,
            chance=self._chance(),
            refused=event.refused,
        )
        if verdict.kind is restart.Kind.GIVE_UP:
            self._announce_exit(worker, event)
            self._give_up(slot, f"{restart.too_many(config, len(slot.deaths))}, the last one: {said}", now)
            return
        verdict = self._allowance.limit(verdict, now, self._chance())
        then = restart.words(config, verdict)
        rests = verdict.kind is restart.Kind.REST
        slot.cause = f"{said}; {then}" if rests else said
        slot.restarts += not rests
        self._announce_exit(worker, event, then)
        self._step(slot, _GONE[verdict.kind], now, verdict.delay)
        slot.limited = verdict.limited

    def _give_up(self, slot: Slot, reason: str, now: float) -> None:
        slot.cause = reason
        self._announce(slot, "failed", f"{reason}; to try again: zocaloctl start {slot.id}")
        self._step(slot, Life.GONE_HOPELESSLY, now)

    # -- How

    def _step(self, slot: Slot, event: Life, now: float, delay: float = 0.0) -> None:
        row = step(slot.state, event)
        if row.state is not slot.state:
            if slot.state is State.READY:
                rolling.leave(slot)
            order.leave(slot)
            slot.state, slot.fresh, slot.limited, slot.again = row.state, False, False, event is Life.DUE
            self._timers.set(slot, now + delay if slot.state is State.BACKOFF else None)
            if slot.state is State.STOPPED and not slot.wanted:
                self._announce(slot, "stopped", "")
        for effect in row.effects:
            match effect:
                case Effect.FORGET_DEATHS:
                    slot.deaths.clear()
                    slot.fresh = True
                case Effect.SPAWN if slot.fresh and slot.service.config.after and event is not Life.TURN:
                    order.hold(slot)
                case Effect.SPAWN:
                    slot.current = self._workers.spawn(slot)
                case Effect.DRAIN if slot.current:
                    self._workers.drain(slot.current, now)
                case Effect.KILL if slot.current:
                    self._workers.kill(slot.current)

    def _keep(self, slot: Slot, why: str, now: float) -> None:
        delay = rolling.keep(slot, why, self._watches, self._emit)
        self._timers.set(slot, None if delay is None else now + delay)

    def _settle(self, slot: Slot) -> None:
        """Tell those who wait; forget an instance that was to leave and has stopped."""
        self._watches.settle(slot)
        if slot.leaving and slot.state is State.STOPPED:
            slot.service.slots.pop(slot.number, None)

    def _announce(self, slot: Slot, event: str, text: str, **data: object) -> None:
        self._emit(Announce(event, slot.id, text, data))

    def _announce_exit(self, worker: Worker, event: Exited, then: str = "") -> None:
        if announcement := endings.announcement(worker, event, then):
            self._emit(announcement)
