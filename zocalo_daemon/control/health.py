"""Whether instances are healthy: alive, as progress shows it (pure).

An instance is healthy if its worker starts, serves or finishes and does not hang (supervision/liveness). It
is not if it waits for a restart or has failed, nor if it is stopped: that is answered too, but does not count
for the whole when somebody has stopped it. That a broker is away makes nobody unhealthy: a restart would not
bring it back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from zocalo_daemon.control.http import Answer
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.slots import Slot, Worker

_DEAD = (State.BACKOFF, State.FAILED, State.STOPPED)


def trouble(slot: Slot, hung: Callable[[Worker], str]) -> str:
    """Return what is wrong with an instance, "" if it is healthy.

    Args:
        hung: says what a worker makes no progress with, "" if it does not hang.
    """
    worker = slot.current
    if slot.state in _DEAD or worker is None:
        return f"{slot.state}{f': {slot.reason}' if slot.reason else ''}" if slot.state in _DEAD else ""
    return worker.hung or worker.stalled or hung(worker)


def answer(slots: Iterable[Slot], name: str, hung: Callable[[Worker], str]) -> Answer:
    """Return the answer about the instances of a name, "" for all: 200, 503, or 404 if there is none."""
    named = [slot for slot in slots if name in ("", slot.id, slot.service.config.name)]
    if name and not named:
        return Answer(
            404, "application/json", b'{"healthy": false, "error": "no such service or instance"}\n'
        )
    told = {slot.id: trouble(slot, hung) for slot in named}
    # Whoever asks for one instance wants to know about that one, stopped or not.
    healthy = not any(told[slot.id] for slot in named if slot.wanted or slot.id == name)
    if name and not any(slot.wanted for slot in named):
        healthy = False
    document = {
        "healthy": healthy,
        "instances": {
            slot.id: {
                "healthy": not told[slot.id],
                "state": str(slot.state),
                "wanted": slot.wanted,
                "reason": told[slot.id] or None,
            }
            for slot in named
        },
    }
    return Answer(200 if healthy else 503, "application/json", json.dumps(document).encode() + b"\n")
