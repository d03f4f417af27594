"""Services and instances, wanted and actual: events and commands go in, actions come out.

Nothing here touches a process, a clock or a random source: `now` (monotonic seconds) is an argument, and
`chance` is a function that the owner passes in. The loop performs the actions in the order given.

The parts: `instances` steps each instance through the table of `lifecycle`, `rolling` restarts one after the
other, `workers` minds the workers and their deadlines, `watches` tells those who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.supervision import order, rolling
from zocalo_daemon.supervision.actions import Action
from zocalo_daemon.supervision.events import (
    Event,
    Exited,
    Forked,
    Hung,
    Ready,
    Spent,
    Stalled,
    Unloadable,
)
from zocalo_daemon.supervision.instances import Instances
from zocalo_daemon.supervision.slots import Service, Slot, Timers, Watch, Worker
from zocalo_daemon.supervision.watches import Watches
from zocalo_daemon.supervision.workers import Workers


class Roster:
    """All instances. Every method that changes something returns the actions that follow from it.

    Args:
        chance: returns a random number in [0, 1), for the jitter of delays.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self.services: dict[str, Service] = {}
        self._actions: list[Action] = []
        self._timers = Timers()
        self._workers = Workers(self._timers, chance, self._emit)
        self._watches = Watches(self.slot, self._timers, self._emit)
        self._instances = Instances(self._workers, self._watches, self._timers, chance, self._emit)

    # -- Looking

    def slots(self) -> Iterator[Slot]:
        """Yield every instance, services and instances in their order."""
        for service in self.services.values():
            yield from service.slots.values()

    def slot(self, instance: str) -> Slot | None:
        """Return the instance `service/N`, or None."""
        name, _, number = instance.rpartition("/")
        service = self.services.get(name)
        if service is None or not number.isascii() or not number.isdigit() or len(number) > 9:
            return None
        slot = service.slots.get(int(number))
        return slot if slot and slot.id == instance else None

    def worker(self, serial: int) -> Worker | None:
        """Return a worker that has not ended yet, or None."""
        return self._workers.get(serial)

    def idle(self) -> bool:
        """Return whether no worker is left."""
        return not self._workers

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do, in monotonic seconds."""
        return self._timers.next()

    def parts(self) -> dict[str, object]:
        """Return whatever has a memory, for a handover: it must hold values only."""
        return {
            "roster": self,
            "timers": self._timers,
            "workers": self._workers,
            "watches": self._watches,
            "instances": self._instances,
        }

    # -- Commands

    def up(self, instances: Iterable[str], now: float) -> list[Action]:
        """Want these instances; one in backoff or failed starts at once. One that leaves cannot be had."""
        slots = self._staying(instances)
        for slot in slots:
            self._instances.want(slot, now)
        return self._outcome(now, slots)

    def down(self, instances: Iterable[str], now: float, why: str | None = None) -> list[Action]:
        """Want these instances no more: drain them; `why` is the reason that people are told."""
        slots = [slot for slot in map(self.slot, instances) if slot]
        for slot in slots:
            self._instances.unwant(slot, now, why)
        return self._outcome(now, slots)

    def renew(self, instances: Iterable[str], now: float) -> list[Action]:
        """Restart these instances: rolling where they serve, directly where they do not."""
        slots = self._staying(instances)
        for slot in slots:
            self._instances.renew(slot, now)
        return self._outcome(now, slots)

    def scale(self, name: str, count: int, now: float) -> list[Action]:
        """Change how many instances of a service are wanted; new ones start, the highest numbers leave.

        Instances that somebody has stopped stay so. A service that is being removed has no new ones.
        """
        service = self.services[name]
        if not service.removed:
            self._resize(service, count, now)
        return self._outcome(now, [], service)

    def apply(
        self, services: Mapping[str, ServiceConfig], changed: Iterable[str], now: float
    ) -> list[Action]:
        """Take over a new configuration: add, remove and resize services, restart the `changed` ones."""
        before = self._workers.latest
        self._note_followed(services.values())
        removed = [service for name, service in self.services.items() if name not in services]
        for service in removed:
            service.removed = True
            self._resize(service, 0, now)
        for config in services.values():
            self._adopt(config, now)
        for name in changed:
            for slot in self.services[name].slots.values() if name in services else ():
                # One that was started by this very change is new already.
                if slot.wanted and not (slot.current and slot.current.serial > before):
                    self._instances.renew(slot, now)
        present = {name: self.services[name] for name in services}
        self.services = present | {service.config.name: service for service in removed}
        self._note_followed()
        return self._outcome(now, [], *self.services.values())

    # -- Waiting

    def watch(
        self, number: int, instances: Iterable[str], *, up: bool | None, due: float | None
    ) -> list[Action]:
        """Report with Finish(number) once each instance is up (down), or cannot be, or `due` has come.

        Args:
            up: what to wait for; None is what is wanted of each instance now.
        """
        goals = {}
        for instance in instances:
            slot = self.slot(instance)
            goals[instance] = up if up is not None else bool(slot and slot.wanted)
        self._watches.add(number, goals, due)
        order.review(self.services, self._watches.fail)
        return self._taken()

    def unwatch(self, number: int) -> None:
        """Forget a watch: nobody waits any more."""
        self._watches.forget(number)

    # -- What happens

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take note of an event; an event of a worker that is long gone changes nothing."""
        worker = self._workers.get(event.serial)
        if worker is None:
            return []
        match event:
            case Forked(_, pid):
                self._instances.forked(worker, pid, now)
            case Ready():
                self._instances.ready(worker, now)
            case Exited():
                self._workers.ended(worker)
                self._instances.exited(worker, event, now)
            case Unloadable(_, error):
                self._workers.ended(worker)
                self._instances.unloadable(worker, error, now)
            case Hung(_, what):
                self._instances.hung(worker, what, now)
            case Spent(_, why):
                self._instances.spent(worker, why)
            case Stalled(_, why):
                self._instances.stalled(worker, why)
        return self._outcome(now, [worker.slot])

    def tick(self, now: float) -> list[Action]:
        """Act on every deadline that has come."""
        slots = []
        while owner := self._timers.pop(now):
            match owner:
                case Watch():
                    self._watches.expired(owner)
                case Slot():
                    self._instances.due(owner, now)
                    slots.append(owner)
                case Worker():
                    self._instances.overdue(owner, now)
                    slots.append(owner.slot)
        return self._outcome(now, slots)

    # -- How

    def _emit(self, action: Action) -> None:
        self._actions.append(action)

    def _staying(self, instances: Iterable[str]) -> list[Slot]:
        return [slot for slot in map(self.slot, instances) if slot and not slot.leaving]

    def _note_followed(self, configs: Iterable[ServiceConfig] = ()) -> None:
        """Note which services others come after, by the present configuration or by the new one."""
        known = [service.config for service in self.services.values()]
        followed = {name for config in (*known, *configs) for name in config.after}
        for name, service in self.services.items():
            service.followed = name in followed

    def _adopt(self, config: ServiceConfig, now: float) -> None:
        service = self.services.get(config.name)
        if service is None:
            service = self.services[config.name] = Service(config, config.instances)
        elif service.removed or service.config.instances != config.instances:
            service.count = config.instances
        retimed = service.config.max_age != config.max_age
        service.config, service.removed = config, False
        for slot in service.slots.values() if retimed else ():
            if slot.current:
                self._workers.mind_age(slot.current, now)
        self._resize(service, service.count, now)

    def _resize(self, service: Service, count: int, now: float) -> None:
        service.count = count
        for number in range(count):
            slot = service.slots.get(number)
            if slot is None:
                slot = service.slots[number] = Slot(service, number)
            elif not slot.leaving:
                continue
            slot.leaving = False
            self._instances.want(slot, now)
        for slot in [slot for slot in service.slots.values() if slot.number >= count]:
            slot.leaving = True
            self._instances.unwant(slot, now)
        service.slots = dict(sorted(service.slots.items()))  # a gap that was filled stands at the end

    def _outcome(self, now: float, slots: Iterable[Slot], *services: Service) -> list[Action]:
        """Go on with what other instances have waited for, forget services without instances; return what
        is to be done.
        """
        touched = {id(service): service for service in (*services, *(slot.service for slot in slots))}
        for service in touched.values():
            rolling.advance(service, self._workers)
            if service.removed and not service.slots:
                self.services.pop(service.config.name, None)
        for slot in order.review(self.services, self._watches.fail):
            self._instances.turn(slot, now)
        return self._taken()

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions
