"""Services and instances, wanted and actual: events and commands go in, actions come out.

Nothing here touches a process, a clock or a random source: `now` (monotonic seconds) is an argument, and
`chance` is a function that the owner passes in. The loop performs the actions in the order given.

Rolling restart: one instance of a service after the other; a replacement is started beside the worker that
serves, takes over once it is ready, and only then is the old one drained. If the replacement does not become
ready, the old worker stays and the rest of the service is left alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.supervision import restart
from zocalo_daemon.supervision.actions import Action, Announce, Drain, Finish, Kill, Spawn
from zocalo_daemon.supervision.events import Event, Exited, Forked, Ready, Unloadable
from zocalo_daemon.supervision.lifecycle import Effect, State, step
from zocalo_daemon.supervision.lifecycle import Event as Life
from zocalo_daemon.supervision.slots import Service, Slot, Timers, Watch, Worker

_GONE = {
    restart.Kind.AT_ONCE: Life.GONE_AT_ONCE,
    restart.Kind.LATER: Life.GONE_LATER,
    restart.Kind.REST: Life.GONE_FOR_GOOD,
    restart.Kind.GIVE_UP: Life.GONE_TOO_OFTEN,
}


class Roster:
    """All instances. Every method that changes something returns the actions that follow from it."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.services: dict[str, Service] = {}
        self._workers: dict[int, Worker] = {}
        self._watches: dict[int, Watch] = {}
        self._timers = Timers()
        self._chance = chance
        self._serial = 0
        self._actions: list[Action] = []

    # -- Looking

    def slots(self) -> Iterator[Slot]:
        """Yield every instance, services in their order."""
        for service in self.services.values():
            yield from service.slots.values()

    def slot(self, instance: str) -> Slot | None:
        """Return the instance `service/N`, or None."""
        name, _, number = instance.rpartition("/")
        service = self.services.get(name)
        return service.slots.get(int(number)) if service and number.isdigit() else None

    def worker(self, serial: int) -> Worker | None:
        """Return a worker that has not ended yet, or None."""
        return self._workers.get(serial)

    def idle(self) -> bool:
        """Return whether no worker is left."""
        return not self._workers

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do, in monotonic seconds."""
        return self._timers.next()

    # -- Commands

    def up(self, instances: Iterable[str], now: float) -> list[Action]:
        """Want these instances; one in backoff or failed starts at once."""
        for slot in self._found(instances):
            slot.wanted, slot.leaving = True, False
            self._step(slot, Life.UP, now)
            self._settle_watches(slot)
        return self._take()

    def down(self, instances: Iterable[str], now: float) -> list[Action]:
        """Want these instances no more: drain them."""
        for slot in self._found(instances):
            self._down(slot, now)
        return self._take()

    def renew(self, instances: Iterable[str], now: float) -> list[Action]:
        """Restart these instances: rolling where they serve, directly where they do not."""
        for slot in self._found(instances):
            slot.wanted = True
            if slot.state is State.READY and slot.number not in slot.service.rolling:
                slot.service.rolling.append(slot.number)
                if slot.service.rolling[0] == slot.number:
                    self._roll(slot)
            elif slot.state is not State.READY:
                self._step(slot, Life.RENEW, now)
        return self._take()

    def scale(self, name: str, count: int, now: float) -> list[Action]:
        """Change how many instances of a service are wanted; new ones start, the highest numbers leave."""
        service = self.services[name]
        service.count = count
        for number in range(count):
            slot = service.slots.get(number)
            if slot is None:
                slot = service.slots[number] = Slot(service, number)
            elif not slot.leaving:
                continue
            slot.wanted, slot.leaving = True, False
            self._step(slot, Life.UP, now)
        for slot in [slot for slot in service.slots.values() if slot.number >= count]:
            slot.leaving = True
            self._down(slot, now)
        return self._take()

    def apply(
        self, services: Mapping[str, ServiceConfig], changed: Iterable[str], now: float
    ) -> list[Action]:
        """Take over a new configuration: add, remove and resize services, restart the `changed` ones."""
        actions: list[Action] = []
        for name in [name for name in self.services if name not in services]:
            self.services[name].removed = True
            actions += self.scale(name, 0, now)
            self._forget(name)
        for name, config in services.items():
            service = self.services.get(name)
            if service is None or service.removed:
                service = self.services.setdefault(name, Service(config, config.instances))
                service.config, service.removed, count = config, False, config.instances
            else:
                resized = config.instances != service.config.instances
                count = config.instances if resized else service.count
                service.config = config
            actions += self.scale(name, count, now)
        for name in changed:
            if name in services:
                wanted = [slot.id for slot in self.services[name].slots.values() if slot.wanted]
                actions += self.renew(wanted, now)
        return actions

    def watch(self, number: int, instances: Iterable[str], *, up: bool, due: float | None) -> list[Action]:
        """Report with Finish(number) once each instance is up (down), or cannot be, or `due` has come."""
        watch = Watch(number, up, set(instances))
        self._watches[number] = watch
        self._timers.set(watch, due)
        for instance in sorted(watch.pending):
            slot = self.slot(instance)
            if slot is None:
                self._resolve(watch, instance, "stopped", not up, "it is gone" if up else "")
            else:
                self._settle_watch(watch, slot)
        self._finish(watch)
        return self._take()

    def unwatch(self, number: int) -> None:
        """Forget a watch: nobody waits any more."""
        watch = self._watches.pop(number, None)
        if watch:
            self._timers.set(watch, None)

    # -- What happens

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take note of an event; an event of a worker that is long gone changes nothing."""
        match event:
            case Forked(serial, pid):
                if worker := self._workers.get(serial):
                    worker.pid, worker.started_at = pid, now
                    if worker.due is None:
                        self._timers.set(worker, now + worker.service.start_timeout)
                    self._announce(worker.slot, "started", f"pid {pid}", {"pid": pid})
            case Ready(serial):
                if (worker := self._workers.get(serial)) and not worker.stopping:
                    self._ready(worker, now)
            case Exited(serial):
                if worker := self._workers.pop(serial, None):
                    self._timers.set(worker, None)
                    self._exited(worker, event, now)
            case Unloadable(name, error):
                for slot in list(self.services[name].slots.values()) if name in self.services else []:
                    self._unloadable(slot, error)
        return self._take()

    def tick(self, now: float) -> list[Action]:
        """Act on every deadline that has come."""
        while owner := self._timers.pop(now):
            match owner:
                case Watch():
                    for instance in sorted(owner.pending):
                        slot = self.slot(instance)
                        state = slot.state if slot else State.STOPPED
                        self._resolve(owner, instance, state, False, f"still {state} after the time-out")
                    self._finish(owner)
                case Slot():
                    self._step(owner, Life.DUE, now)
                case Worker():
                    self._overdue(owner, now)
        return self._take()

    # -- How

    def _take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _found(self, instances: Iterable[str]) -> list[Slot]:
        return [slot for slot in map(self.slot, instances) if slot is not None]

    def _step(self, slot: Slot, event: Life, now: float, delay: float = 0.0) -> None:
        transition = step(slot.state, event)
        if transition.state is not slot.state:
            slot.state = transition.state
            self._timers.set(slot, now + delay if slot.state is State.BACKOFF else None)
        for effect in transition.effects:
            match effect:
                case Effect.FORGET_DEATHS:
                    slot.deaths.clear()
                case Effect.SPAWN:
                    slot.current = self._spawn(slot)
                case Effect.DRAIN if slot.current:
                    self._drain(slot.current, now)
                case Effect.KILL if slot.current:
                    self._kill(slot.current)

    def _spawn(self, slot: Slot) -> Worker:
        self._serial += 1
        worker = Worker(self._serial, slot, slot.service.config)
        self._workers[worker.serial] = worker
        self._actions.append(Spawn(worker.serial, slot.id, worker.service))
        return worker

    def _drain(self, worker: Worker, now: float) -> None:
        worker.stopping = True
        self._timers.set(worker, now + worker.service.stop_timeout)
        self._actions.append(Drain(worker.serial))

    def _kill(self, worker: Worker) -> None:
        worker.stopping = True
        self._timers.set(worker, None)
        self._actions.append(Kill(worker.serial))

    def _announce(self, slot: Slot, event: str, text: str, data: dict[str, object] | None = None) -> None:
        self._actions.append(Announce(event, slot.id, text, data or {}))

    def _down(self, slot: Slot, now: float) -> None:
        slot.wanted = False
        if slot.candidate:
            self._kill(slot.candidate)
        if slot.number in slot.service.rolling:
            slot.service.rolling.remove(slot.number)
        self._step(slot, Life.DOWN, now)
        self._at_rest(slot)

    def _ready(self, worker: Worker, now: float) -> None:
        slot = worker.slot
        self._timers.set(worker, None)
        worker.ready_at = now
        if worker is slot.candidate:
            slot.retiring, slot.current, slot.candidate = slot.current, worker, None
            if slot.retiring:
                self._drain(slot.retiring, now)
        elif worker is slot.current:
            self._step(slot, Life.READY, now)
        slot.reason = None
        self._announce(slot, "ready", f"pid {worker.pid}", {"pid": worker.pid})
        self._settle_watches(slot)
        self._roll_on(slot, now)

    def _exited(self, worker: Worker, event: Exited, now: float) -> None:
        slot = worker.slot
        text = worker.note or event.error
        said = f"{event.exit}: {text}" if text else str(event.exit)
        if not (worker.stopping and event.exit.clean):
            slot.last_exit = said
        self._announce(slot, "exited", said, {"pid": worker.pid, "code": event.exit.code})
        if worker is slot.retiring:
            slot.retiring = None
            self._at_rest(slot)
        elif worker is slot.candidate:
            slot.candidate = None
            if slot.wanted:
                self._not_replaced(slot, said)
            self._at_rest(slot)
        elif worker is slot.current:
            slot.current = None
            self._current_exited(slot, worker, event, said, now)

    def _current_exited(self, slot: Slot, worker: Worker, event: Exited, said: str, now: float) -> None:
        if slot.state is State.DRAINING:
            self._step(slot, Life.GONE_AT_ONCE if slot.wanted else Life.GONE_FOR_GOOD, now)
            slot.reason = None
        elif slot.candidate and slot.wanted:
            # The replacement that was being tried beside it now is the one; if it fails, it counts as usual.
            slot.current, slot.candidate = slot.candidate, None
            slot.state, slot.restarts = State.STARTING, slot.restarts + 1
        else:
            slot.deaths.append(now)
            config = worker.service.restart
            verdict = restart.decide(
                config,
                slot.deaths,
                clean=event.exit.clean,
                was_ready=worker.ready_at is not None,
                now=now,
                chance=self._chance(),
            )
            self._step(slot, _GONE[verdict.kind], now, verdict.delay)
            slot.reason = said
            if verdict.kind is restart.Kind.GIVE_UP:
                count = restart.recent_deaths(config, slot.deaths, now)
                slot.reason = f"{count} deaths within {config.window:g} s, the last one: {said}"
                self._announce(slot, "failed", slot.reason)
            elif verdict.kind is not restart.Kind.REST:
                slot.restarts += 1
            self._roll_on(slot, now)
        self._settle_watches(slot)
        self._at_rest(slot)

    def _overdue(self, worker: Worker, now: float) -> None:
        slot, config = worker.slot, worker.service
        if worker.stopping:
            worker.note = f"killed, because it had not stopped after {config.stop_timeout:g} s"
        else:
            worker.note = f"killed, because it was not ready after {config.start_timeout:g} s"
        if worker is slot.current:
            self._step(slot, Life.DUE, now)
        else:
            self._kill(worker)

    def _unloadable(self, slot: Slot, error: str) -> None:
        for worker in (slot.current, slot.candidate):
            if worker is None or worker.pid is not None:
                continue
            del self._workers[worker.serial]
            self._timers.set(worker, None)
            if worker is slot.candidate:
                slot.candidate = None
                self._not_replaced(slot, error)
                continue
            slot.current = None
            slot.state = State.FAILED if slot.wanted else State.STOPPED
            slot.reason = error
            self._announce(slot, "failed", error)
            self._settle_watches(slot)
            self._at_rest(slot)

    # -- Rolling restart

    def _roll(self, slot: Slot) -> None:
        slot.candidate = self._spawn(slot)

    def _roll_on(self, slot: Slot, now: float) -> None:
        """The instance that the rolling restart was at is done with, one way or the other: go on."""
        rolling = slot.service.rolling
        if not rolling or rolling[0] != slot.number:
            return
        rolling.popleft()
        while rolling:
            following = slot.service.slots.get(rolling[0])
            if following and following.state is State.READY and following.wanted:
                self._roll(following)
                return
            if following and following.wanted:
                self._step(following, Life.RENEW, now)
            rolling.popleft()

    def _not_replaced(self, slot: Slot, said: str) -> None:
        service, rest = slot.service, slot.service.rolling
        service.rolling = deque()
        message = f"kept the old worker: its replacement did not become ready ({said})"
        slot.reason = message
        self._announce(slot, "kept", message)
        for number in {slot.number, *rest}:
            kept = service.slots.get(number)
            text = message if kept is slot else f"kept as it is, because {slot.id} could not be replaced"
            for watch in list(self._watches.values()):
                if kept and watch.up and kept.id in watch.pending:
                    self._resolve(watch, kept.id, kept.state, False, text)
                    self._finish(watch)

    # -- Watches

    def _settle_watches(self, slot: Slot) -> None:
        for watch in list(self._watches.values()):
            if slot.id in watch.pending:
                self._settle_watch(watch, slot)
                self._finish(watch)

    def _settle_watch(self, watch: Watch, slot: Slot) -> None:
        rolling = slot.number in slot.service.rolling and slot.candidate is not None
        waiting = rolling or slot.number in list(slot.service.rolling)[1:]
        state = slot.state
        if state is State.STOPPED:
            self._resolve(watch, slot.id, state, not watch.up, (slot.reason or "") if watch.up else "")
        elif watch.up and state is State.READY and not waiting:
            self._resolve(watch, slot.id, state, True, "")
        elif watch.up and state in (State.BACKOFF, State.FAILED):
            self._resolve(watch, slot.id, state, False, slot.reason or "")

    def _resolve(self, watch: Watch, instance: str, state: str, ok: bool, message: str) -> None:
        watch.pending.discard(instance)
        watch.results.append({"id": instance, "state": str(state), "ok": ok, "message": message})

    def _finish(self, watch: Watch) -> None:
        if not watch.pending and watch.number in self._watches:
            del self._watches[watch.number]
            self._timers.set(watch, None)
            results = sorted(watch.results, key=lambda result: str(result["id"]))
            self._actions.append(Finish(watch.number, results))

    # -- Leaving

    def _at_rest(self, slot: Slot) -> None:
        """An instance that has stopped and was to leave is forgotten, and so is a removed service."""
        if slot.state is not State.STOPPED or slot.wanted or slot.retiring or slot.candidate:
            return
        self._settle_watches(slot)
        if slot.leaving:
            slot.service.slots.pop(slot.number, None)
            self._forget(slot.service.config.name)
        else:
            self._announce(slot, "stopped", "")

    def _forget(self, name: str) -> None:
        service = self.services.get(name)
        if service and service.removed and not service.slots:
            del self.services[name]


def with_instances(config: ServiceConfig, count: int) -> ServiceConfig:
    """Return the configuration of a service with another number of instances."""
    return replace(config, instances=count)
