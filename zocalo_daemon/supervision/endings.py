"""What is said about the end of a worker: how and why, for people, and whether it was as it should be."""

from __future__ import annotations

from zocalo_daemon.supervision.actions import Announce
from zocalo_daemon.supervision.events import Exited
from zocalo_daemon.supervision.slots import Worker


def said(worker: Worker, event: Exited) -> str:
    """Return how a worker ended and why, for people."""
    why = worker.note or event.error
    if worker.pid is None and why:
        return why
    return f"{event.exit}: {why}" if why else str(event.exit)


def expected(worker: Worker, event: Exited) -> bool:
    """Return whether it ended because, and as, it was asked to."""
    return worker.stopping and not worker.note and (worker.killed or event.exit.clean)


def announcement(worker: Worker, event: Exited, then: str = "") -> Announce | None:
    """Return what followers of events are told, None if nobody has heard of this worker.

    Args:
        then: what happens now, for people.
    """
    if worker.pid is None and expected(worker, event):
        return None
    text = f"{said(worker, event)}; {then}" if then else said(worker, event)
    return Announce("exited", worker.slot.id, text, {"pid": worker.pid, "code": event.exit.code})
