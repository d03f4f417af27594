"""Who waits for which instances, and what they are told: each watch finishes exactly once.

An instance counts as soon as it is what was waited for, or can no longer become it without somebody asking
anew: it failed, it is in backoff, it was stopped while it was expected up, or started while expected down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zocalo_daemon.supervision.actions import Action, Finish
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.slots import Slot, Timers, Watch


class Watches:
    """The watches by number, and by the instances that they wait for.

    Args:
        find: returns an instance by its id, or None.
        emit: takes the Finish actions.
    """

    def __init__(
        self, find: Callable[[str], Slot | None], timers: Timers, emit: Callable[[Action], None]
    ) -> None:
        self._find = find
        self._timers = timers
        self._emit = emit
        self._watches: dict[int, Watch] = {}
        self._waiting: dict[str, list[Watch]] = {}

    def add(self, number: int, goals: Mapping[str, bool], due: float | None) -> None:
        """Wait until each instance is up (True) or down (False), at most until `due`."""
        watch = self._watches[number] = Watch(number, dict(goals))
        self._timers.set(watch, due)
        for instance, up in goals.items():
            self._waiting.setdefault(instance, []).append(watch)
            self._judge(watch, instance, up, self._find(instance))
        self._finish(watch)

    def forget(self, number: int) -> None:
        """Nobody waits any more."""
        if watch := self._watches.pop(number, None):
            self._timers.set(watch, None)
            for instance in list(watch.pending):
                self._withdraw(watch, instance)

    def settle(self, slot: Slot) -> None:
        """An instance has changed: tell those who have waited for that."""
        instance = slot.id
        for watch in list(self._waiting.get(instance, ())):
            self._judge(watch, instance, watch.pending[instance], slot)
            self._finish(watch)

    def fail(self, slot: Slot, message: str) -> None:
        """Whoever waits for this instance to come up waits in vain."""
        instance = slot.id
        for watch in list(self._waiting.get(instance, ())):
            if watch.pending[instance]:
                self._resolve(watch, instance, slot.state, False, message)
                self._finish(watch)

    def expired(self, watch: Watch) -> None:
        """The time of a watch is up."""
        for instance in list(watch.pending):
            slot = self._find(instance)
            state = slot.state if slot else State.STOPPED
            said = f"still {state}" if not (slot and slot.asked) else "not replaced yet"
            why = f": {slot.reason}" if slot and slot.reason else ""
            self._resolve(watch, instance, state, False, f"{said} after the time-out{why}")
        self._finish(watch)

    def _judge(self, watch: Watch, instance: str, up: bool, slot: Slot | None) -> None:
        verdict = _up(slot) if up else _down(slot)
        if verdict:
            self._resolve(watch, instance, slot.state if slot else State.STOPPED, *verdict)

    def _resolve(self, watch: Watch, instance: str, state: State, ok: bool, message: str) -> None:
        self._withdraw(watch, instance)
        watch.results.append({"id": instance, "state": str(state), "ok": ok, "message": message})

    def _withdraw(self, watch: Watch, instance: str) -> None:
        del watch.pending[instance]
        waiting = self._waiting[instance]
        waiting.remove(watch)
        if not waiting:
            del self._waiting[instance]

    def _finish(self, watch: Watch) -> None:
        if not watch.pending and watch.number in self._watches:
            del self._watches[watch.number]
            self._timers.set(watch, None)
            results = sorted(watch.results, key=lambda result: _natural(str(result["id"])))
            self._emit(Finish(watch.number, results))


def _up(slot: Slot | None) -> tuple[bool, str] | None:
    """Return whether it came up and what to say, or None while that is open."""
    if slot is None or slot.leaving:
        return False, "it does not exist any more"
    if not slot.wanted:
        return False, "it was stopped meanwhile"
    if slot.state is State.READY:
        return None if slot.asked else (True, "")
    if slot.state in (State.BACKOFF, State.FAILED, State.STOPPED):
        return False, slot.reason or ""
    return None


def _down(slot: Slot | None) -> tuple[bool, str] | None:
    if slot is None:
        return True, ""
    if slot.wanted:
        return False, "it was started meanwhile"
    return (True, "") if slot.state is State.STOPPED else None


def _natural(instance: str) -> tuple[str, int]:
    name, _, number = instance.rpartition("/")
    return name, int(number) if number.isdecimal() else 0
