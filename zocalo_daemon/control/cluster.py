"""The daemon among the hosts of a site: what it broadcasts of its workers, and the commands that it obeys.

While all workers are idle, the relay repeats what it was told last, and nothing here costs a wake-up; a
report of the relay or of a worker says when it is time to look again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.control.surroundings import surroundings
from zocalo_daemon.supervision import statuses
from zocalo_daemon.supervision.actions import Action
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.liveness import Phase
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Slot
from zocalo_daemon.supervision.statuses import Glimpse, Statuses
from zocalo_daemon.supervision.worker_process import Process

Status = dict[str, Any]


class Host(Protocol):
    """What it speaks of, and acts on."""

    config: DaemonConfig
    loop: Loop
    relay: Relay
    fleet: Fleet
    roster: Roster

    def perform(self, actions: list[Action]) -> None:
        """Carry out what the roster has decided."""

    def say(self, level: int, text: str) -> None:
        """Log a line."""


class Cluster:
    """Tells the relay the statuses of all workers, and stops those that a broadcast command means."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._statuses = Statuses()
        self._last: dict[int, tuple[Process, Status]] = {}  # of each worker, for when it has ended
        self._told = 0  # pid of the relay that was told
        self._machine = statuses.machine()
        self._more: Status | None = None
        host.relay.on_command = self.obey
        self._looking = False  # a look is due
        self._reported: dict[int, Mapping[str, Any]] = {}  # by the index of the relay
        self.wake()

    def wake(self) -> None:
        """Look at the workers from now on, if nobody does: something has happened."""
        if not self._looking:
            self._look_after(0.0)

    def reported(self, figures: Mapping[str, Any], index: int) -> None:
        """Look, if the figures of a relay say that one of the workers has done something."""
        pids = {str(worker.pid) for worker in self._host.fleet.processes.values()}
        own = {pid: told for pid, told in figures.items() if pid in pids}
        if own != self._reported.get(index):
            self._reported[index] = own
            self.wake()

    def _look_after(self, seconds: float) -> None:
        self._looking = True
        self._host.loop.after(seconds, self._tick)

    def _tick(self) -> None:
        self._looking = False
        if not self.tell():
            self._look_after(statuses.TICK)

    def tell(self) -> bool:
        """Tell the relay what there is to be told now; return whether that is all until something happens."""
        relay = self._host.relay
        if relay.state != "ready":
            return True
        if relay.pid != self._told:
            self._told = relay.pid
            self._statuses.forget()
        told, settled = self._living()
        aloud = self._host.config.status_broadcast
        if ended := self._ended():
            relay.tell("statuses", {"statuses": ended, "broadcast": aloud, "repeat": False})
        relay.tell("statuses", {"statuses": told, "broadcast": aloud, "repeat": settled})
        return settled

    def _living(self) -> tuple[list[Status], bool]:
        """Return the statuses to be told now, and whether these are all, and may be repeated."""
        fleet = self._host.fleet
        workers = {serial: worker for serial, worker in fleet.processes.items() if worker.pid}
        shown = {
            serial: Glimpse(worker.phase, fleet.board.read(worker.board), bool(worker.error))
            for serial, worker in workers.items()
        }
        chosen = self._statuses.look(shown, time.monotonic())
        if settled := self._statuses.settled:
            chosen = self._statuses.everyone()
        told = []
        for serial in chosen:
            one = self._status(workers[serial])
            self._last[serial] = workers[serial], one
            told.append(one)
        return told, settled

    def _ended(self) -> list[Status]:
        """Return the last statuses of workers that have ended."""
        told = []
        for serial in self._last.keys() - self._host.fleet.processes.keys():
            worker, last = self._last.pop(serial)
            peaceful = not worker.error and (worker.drained or worker.phase is Phase.IN_SHUTDOWN)
            code = statuses.TEARDOWN if peaceful else statuses.ERROR
            told.append({**last, "status": {**last["status"], **_coded(code)}})
        return told

    def _status(self, worker: Process) -> Status:
        if self._more is None:  # not before there is something to tell: it looks at files
            self._more = surroundings(os.environ)
        service, server = worker.service, worker.forkserver
        known = server.classes.get(service.name, {})
        status = {
            "host": f"{self._machine}.{worker.pid}",
            **_coded(self._statuses.status(worker.serial)),
            "service": worker.name or service.name,
            "serviceclass": statuses.class_name(known) or service.service_class,
            "utilization": self._statuses.utilization(worker.serial),
            "workflows": server.workflows,
            **self._more,
            "instance": worker.instance,
        }
        if service.tag is not None:
            status["tag"] = service.tag
        return {"transport": service.transport or "", "status": status}

    # -- Commands

    def obey(self, command: Mapping[str, Any]) -> None:
        """Stop the instances that a broadcast `shutdown` means, as `zocaloctl stop` does."""
        host = self._host
        found = meant(command, host.roster.slots(), self._machine, self._names)
        if not found:
            return
        filters = " ".join(f"{name} {command[name]}" for name in ("host", "service") if name in command)
        host.say(20, f"broadcast command by {command['transport']}: shutdown {filters}: {', '.join(found)}")
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
        why = f"by a broadcast command at {when}"
        host.perform(host.roster.down(found, time.monotonic(), why))

    def _names(self, slot: Slot) -> set[str]:
        config = slot.service.config
        server = self._host.fleet.forkservers.get(config.runtime)
        known = server.classes.get(config.name, {}) if server else {}
        return {config.service_class, statuses.class_name(known)}


def meant(
    command: Mapping[str, Any],
    slots: Iterable[Slot],
    machine_: str,
    names: Callable[[Slot], set[str]],
) -> list[str]:
    """Return the instances that a command means: each filter that it has must match.

    Args:
        command: with `host` and `service`, or one of them.
        machine_: as `statuses.machine` returns it.
        names: of the class of an instance, and of its entry point.
    """
    wanted = [slot for slot in slots if slot.wanted]
    if "host" in command:
        # Where the name of the host has no domain, zocalo.shutdown puts a dot before it. Not an old worker
        # that finishes beside its replacement: it is about to end anyway.
        wanted = [
            slot
            for slot in wanted
            if any(
                worker
                and worker.pid
                and command["host"] in (f"{machine_}.{worker.pid}", f".{machine_}.{worker.pid}")
                for worker in (slot.current, slot.candidate)
            )
        ]
    if "service" in command:
        wanted = [slot for slot in wanted if command["service"] in names(slot)]
    return [slot.id for slot in wanted]


def _coded(code: int) -> Status:
    return {"status": code, "statustext": statuses.TEXTS[code]}
