"""The order of services (`after`): who waits for whom before it starts, and before it stops.

A fresh start waits until each service that it comes after is ready: one instance at least serves, and none
is in its very first start. What nobody wants, or has rested by its policy, is not waited for. A restart after
a crash does not wait. An instance that serves and is not wanted any more goes on serving until the services
that come after its own have stopped, those instances of them that are to stop.

Nobody can wait in a circle: a configuration in which services do is refused, whoever waits for a start is
wanted, and whoever waits for a stop is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.slots import Service, Slot

_SHOWN = 3  # services in a reason


class Block(NamedTuple):
    """Why it is not the turn of a service; `hopeless` if it will not be unless somebody does something."""

    why: str
    hopeless: bool = False


def hold(slot: Slot) -> None:
    """Let an instance wait; `review` says for what."""
    slot.service.waiting[slot.number] = slot


def leave(slot: Slot) -> None:
    """It does not wait any more."""
    slot.waits = ""
    slot.service.waiting.pop(slot.number, None)


def review(services: Mapping[str, Service], hopeless: Callable[[Slot, str], None]) -> list[Slot]:
    """Say of every instance that waits what for, and return those whose turn has come.

    Args:
        hopeless: called with those that would wait for ever, and why.
    """
    turn = []
    starts: dict[str, Block | None] = {}
    for service in services.values():
        if not service.waiting:
            continue
        start, stop = _start(service, services, starts), _stop(service, services)
        for slot in service.waiting.values():
            block = start if slot.wanted else stop
            if block is None:
                turn.append(slot)
                continue
            slot.waits = block.why
            if block.hopeless:
                hopeless(slot, block.why)
    return turn


def _start(service: Service, services: Mapping[str, Service], known: dict[str, Block | None]) -> Block | None:
    """Return what the starts of a service wait for: what is hopeless, rather than what just takes time."""
    name = service.config.name
    if name not in known:
        others = [services[other] for other in service.config.after if other in services]
        blocks = [block for other in others if (block := _unready(other, services, known))]
        known[name] = next((block for block in blocks if block.hopeless), blocks[0] if blocks else None)
    return known[name]


def _unready(
    service: Service, services: Mapping[str, Service], known: dict[str, Block | None]
) -> Block | None:
    """Return why a service does not count as ready for those that come after it."""
    # Wanted and stopped is one that rests by its policy: it has done what it is there for.
    slots = [slot for slot in service.slots.values() if slot.wanted and slot.state is not State.STOPPED]
    states = {slot.state for slot in slots}
    first = any(slot.fresh or slot.state is State.DRAINING for slot in slots)  # which then starts afresh
    if not slots or (State.READY in states and not first):
        return None
    why = f"waits for {service.config.name} to be ready"
    if states == {State.FAILED}:
        return Block(f"{why}, which has failed", hopeless=True)
    if states <= {State.FAILED, State.BACKOFF}:
        return Block(f"{why}, which is in backoff", hopeless=True)
    alive = [slot for slot in slots if slot.state not in (State.FAILED, State.BACKOFF)]
    behind = _start(service, services, known) if all(slot.current is None for slot in alive) else None
    return Block(f"{why}, which {behind.why}", behind.hopeless) if behind else Block(why)


def _stop(service: Service, services: Mapping[str, Service]) -> Block | None:
    """Return what the stops of a service wait for."""
    name = service.config.name
    busy = [
        other.config.name
        for other in services.values()
        if name in other.config.after and any(map(_stopping, other.slots.values()))
    ]
    if not busy:
        return None
    more = f" and {len(busy) - _SHOWN} more" if len(busy) > _SHOWN else ""
    return Block(f"stops after {', '.join(busy[:_SHOWN])}{more}")


def _stopping(slot: Slot) -> bool:
    return not slot.wanted and slot.state is not State.STOPPED
