"""Rolling restart: one instance of a service after the other.

A replacement is started beside the worker that serves, takes over once it is ready, and only then is the old
one drained. If the replacement does not become ready, the old worker stays and the rest of the service is
left alone. A slot whose former worker still finishes waits for that: it never has three workers.

The queue (`Service.rolling`) holds only instances that serve. One whose worker ends leaves it, since the
worker that follows is a new one anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from zocalo_daemon.supervision.actions import Action, Announce
from zocalo_daemon.supervision.slots import Service, Slot
from zocalo_daemon.supervision.watches import Watches
from zocalo_daemon.supervision.workers import Workers


def ask(slot: Slot, workers: Workers) -> None:
    """Queue an instance that serves; a replacement that is starting already is taken back.

    What the replacement has loaded may be what this restart is to get rid of.
    """
    discard_candidate(slot, workers)
    slot.service.rolling.setdefault(slot.number, slot)


def discard_candidate(slot: Slot, workers: Workers) -> None:
    """Kill the replacement; the instance has no other retiring worker as long as it has a candidate."""
    if slot.candidate:
        workers.kill(slot.candidate)
        slot.retiring, slot.candidate = slot.candidate, None


def leave(slot: Slot) -> None:
    """The instance has been done, or needs no replacement any more."""
    slot.service.rolling.pop(slot.number, None)


def advance(service: Service, workers: Workers) -> None:
    """Start the replacement that is next, unless one is under way or has to wait."""
    if service.rolling:
        slot = next(iter(service.rolling.values()))
        if slot.candidate is None and slot.retiring is None:
            slot.candidate = workers.spawn(slot)


def promote(slot: Slot, workers: Workers, now: float) -> None:
    """The replacement is ready: it takes over, and the old worker finishes."""
    old, slot.current, slot.candidate = slot.current, slot.candidate, None
    slot.retiring = old
    if old:
        workers.drain(old, now)
    slot.deaths.clear()
    leave(slot)


def keep(slot: Slot, why: str, watches: Watches, emit: Callable[[Action], None]) -> None:
    """The replacement did not become ready: keep the old worker, and those of the instances in the queue."""
    queue = list(slot.service.rolling.values())
    slot.service.rolling.clear()
    slot.reason = f"kept the old worker: its replacement did not become ready ({why})"
    emit(Announce("kept", slot.id, slot.reason))
    watches.fail(slot, slot.reason)
    for other in queue:
        if other is not slot:
            other.reason = f"kept the old worker, because {slot.id} could not be replaced"
            watches.fail(other, other.reason)
