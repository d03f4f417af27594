"""Rolling restart: one instance of a service after the other, because somebody asks or workers are spent.

A replacement is started beside the worker that serves, takes over once it is ready, and only then is the old
one drained. If the replacement does not become ready, the old worker stays, and what somebody has asked for
is over for the rest of the service too; the recycling of a spent worker is tried again later. A slot whose
former worker still finishes waits for that: it never has three workers.

The queue (`Service.rolling`) holds only instances that serve. One whose worker ends leaves it, since the
worker that follows is a new one anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from zocalo_daemon.supervision.actions import Action, Announce
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.slots import Service, Slot, Worker
from zocalo_daemon.supervision.watches import Watches
from zocalo_daemon.supervision.workers import Workers

# Seconds until recycling is tried again: doubling, as what hinders it is likely to last.
RETRY, LAST_RETRY = 60.0, 600.0


def ask(slot: Slot, workers: Workers) -> None:
    """Queue an instance that serves; a replacement that is starting already is taken back.

    What the replacement has loaded may be what this restart is to get rid of.
    """
    discard_candidate(slot, workers)
    slot.asked = True
    slot.service.rolling.setdefault(slot.number, slot)


def recycle(slot: Slot) -> None:
    """Queue an instance if it serves with a worker that is spent, unless it has to wait after a failure."""
    worker = slot.current
    spent = worker and worker.spent and not worker.stopping
    if spent and slot.wanted and slot.state is State.READY and slot.due is None:
        slot.service.rolling.setdefault(slot.number, slot)


def discard_candidate(slot: Slot, workers: Workers) -> None:
    """Kill the replacement; the instance has no other retiring worker as long as it has a candidate."""
    if slot.candidate:
        workers.kill(slot.candidate)
        slot.retiring, slot.candidate = slot.candidate, None


def leave(slot: Slot) -> None:
    """The instance has been done, or needs no replacement any more."""
    slot.asked = False
    slot.service.rolling.pop(slot.number, None)


def advance(service: Service, workers: Workers) -> None:
    """Start the replacement that is next, unless one is under way or has to wait."""
    if service.rolling:
        slot = next(iter(service.rolling.values()))
        if slot.candidate is None and slot.retiring is None:
            slot.candidate = workers.spawn(slot)


def promote(slot: Slot, workers: Workers, now: float) -> Worker | None:
    """The replacement is ready: it takes over, and the old worker, which is returned, finishes."""
    old, slot.current, slot.candidate = slot.current, slot.candidate, None
    slot.retiring = old
    if old:
        workers.drain(old, now)
    if slot.asked:
        slot.deaths.clear()  # who asks has changed something, mostly; recycling mends nothing
    leave(slot)
    return old


def keep(slot: Slot, why: str, watches: Watches, emit: Callable[[Action], None]) -> float | None:
    """The replacement did not become ready: keep the old worker.

    If somebody has asked for it, those of the other instances that he has asked for are kept as well. Returns
    in how many seconds it is tried again, None if it is not.
    """
    delay = None
    asked, worker = slot.asked, slot.current
    leave(slot)
    slot.cause = f"kept the old worker: its replacement did not become ready ({why})"
    if worker and worker.spent:
        delay = min(RETRY * 2.0 ** min(worker.retries, 10), LAST_RETRY)
        worker.retries += 1
        slot.cause += f"; to be recycled ({worker.spent}), tried again after {delay:g} s"
    emit(Announce("kept", slot.id, slot.cause))
    watches.fail(slot, slot.cause)
    for other in [other for other in slot.service.rolling.values() if asked and other.asked]:
        leave(other)
        recycle(other)
        other.cause = f"kept the old worker, because {slot.id} could not be replaced"
        watches.fail(other, other.cause)
    return delay
