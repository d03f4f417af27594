"""A roster on a clock that stands still, and short words for what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zocalo_daemon.config.schema import RestartConfig, ServiceConfig
from zocalo_daemon.supervision.actions import Abort, Action, Announce, Drain, Finish, Kill, Spawn, Trace
from zocalo_daemon.supervision.events import (
    Exit,
    Exited,
    Forked,
    Hung,
    Ready,
    Spent,
    Stalled,
    Unloadable,
)
from zocalo_daemon.supervision.roster import Roster

OK, CRASH, KILLED = Exit(0), Exit(1), Exit(-9)


def service(name: str = "spot", instances: int = 1, **more: Any) -> ServiceConfig:
    """Return a service; the keys of `restart` may be given among the others."""
    keys = {key: more.pop(key) for key in list(more) if key in RestartConfig.__fields__}
    return ServiceConfig(name, "Class", instances, restart=RestartConfig(**keys), **more)


class Script:
    """Events in, actions out. Actions are words: "spawn 1", "drain 1", "kill 1", "ready spot/0"."""

    def __init__(self, *services: ServiceConfig) -> None:
        self.roster = Roster(lambda: 0.5)
        self.now = 1000.0
        self.texts: dict[str, str] = {}  # the last text of each kind of announcement
        self.finished: dict[int, list[dict[str, Any]]] = {}
        self.spawned: dict[int, Spawn] = {}
        self.first = self.apply(*services)

    def apply(self, *services: ServiceConfig, changed: Iterable[str] = ()) -> list[str]:
        return self.said(self.roster.apply({s.name: s for s in services}, changed, self.now))

    def up(self, *instances: str) -> list[str]:
        return self.said(self.roster.up(instances, self.now))

    def down(self, *instances: str) -> list[str]:
        return self.said(self.roster.down(instances, self.now))

    def renew(self, *instances: str) -> list[str]:
        return self.said(self.roster.renew(instances, self.now))

    def scale(self, name: str, count: int) -> list[str]:
        return self.said(self.roster.scale(name, count, self.now))

    def watch(self, number: int, *instances: str, up: bool | None, within: float | None = None) -> list[str]:
        due = None if within is None else self.now + within
        return self.said(self.roster.watch(number, instances, up=up, due=due))

    def forked(self, serial: int) -> list[str]:
        return self.said(self.roster.handle(Forked(serial, 100 + serial), self.now))

    def ready(self, serial: int) -> list[str]:
        """The worker becomes ready; it is forked first, unless it was."""
        worker = self.roster.worker(serial)
        words = self.forked(serial) if worker and worker.pid is None else []
        return words + self.said(self.roster.handle(Ready(serial), self.now))

    def exited(self, serial: int, exit_: Exit = CRASH, error: str = "") -> list[str]:
        return self.said(self.roster.handle(Exited(serial, exit_, error), self.now))

    def unloadable(self, serial: int, error: str = "no module named spots") -> list[str]:
        return self.said(self.roster.handle(Unloadable(serial, error), self.now))

    def hung(self, serial: int, what: str = "no progress for 600 s") -> list[str]:
        return self.said(self.roster.handle(Hung(serial, what), self.now))

    def spent(self, serial: int, why: str = "10,000 messages") -> list[str]:
        return self.said(self.roster.handle(Spent(serial, why), self.now))

    def stalled(self, serial: int, why: str = "stopped by SIGSTOP") -> list[str]:
        return self.said(self.roster.handle(Stalled(serial, why), self.now))

    def reason(self, instance: str = "spot/0") -> str | None:
        slot = self.roster.slot(instance)
        return slot.reason if slot else None

    def later(self, seconds: float) -> list[str]:
        """Let time pass."""
        self.now += seconds
        return self.said(self.roster.tick(self.now))

    def state(self, instance: str = "spot/0") -> str | None:
        slot = self.roster.slot(instance)
        return str(slot.state) if slot else None

    def said(self, actions: list[Action]) -> list[str]:
        words = []
        for action in actions:
            match action:
                case Spawn(serial):
                    self.spawned[serial] = action
                    words.append(f"spawn {serial}")
                case Drain(serial):
                    words.append(f"drain {serial}")
                case Kill(serial):
                    words.append(f"kill {serial}")
                case Trace(serial):
                    words.append(f"trace {serial}")
                case Abort(serial):
                    words.append(f"abort {serial}")
                case Announce(event, instance, text):
                    self.texts[event] = text
                    words.append(f"{event} {instance}")
                case Finish(number, results):
                    assert number not in self.finished
                    self.finished[number] = results
                    words.append(f"finish {number}")
        return words

    def outcome(self, number: int) -> dict[str, tuple[bool, str]]:
        """Return what a watch was told about each instance: (ok, message)."""
        return {result["id"]: (result["ok"], result["message"]) for result in self.finished[number]}


def serving(*services: ServiceConfig) -> Script:
    """Return a script whose workers are all ready."""
    script = Script(*services)
    for serial in list(script.spawned):
        script.ready(serial)
    return script
