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
    """Why it is not the turn of a service.

    Args:
        root: the same of the first service in the row, if that is another one.
        hopeless: it will not be its turn unless somebody does something.
    """

    why: str
    root: str = ""
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
    stops: dict[str, Block] | None = None
    for name, service in services.items():
        for slot in service.waiting.values():
            if slot.wanted:
                block = starts[name] if name in starts else _start(service, services, starts)
            else:
                stops = _stops(services) if stops is None else stops
                block = stops.get(name)
            if block is None:
                turn.append(slot)
                continue
            slot.waits = block.why
            if block.hopeless:
                hopeless(slot, block.why)
    return turn


def _start(service: Service, services: Mapping[str, Service], known: dict[str, Block | None]) -> Block | None:
    """Return what the starts of a service wait for: what is hopeless, rather than what just takes time."""
    stack = [service]  # no recursion: a file may name thousands, one after the other
    while stack:
        name, names = stack[-1].config.name, stack[-1].config.after
        before = [services[other] for other in names if other in services]
        unknown = [other for other in before if other.waiting and other.config.name not in known]
        if unknown:
            stack += unknown
            continue
        blocks = [block for other in before if (block := _unready(other, known))]
        known[name] = next((block for block in blocks if block.hopeless), blocks[0] if blocks else None)
        stack.pop()
    return known[service.config.name]


def _unready(service: Service, known: Mapping[str, Block | None]) -> Block | None:
    """Return why a service does not count as ready for those that come after it."""
    # Wanted and stopped is one that rests by its policy: it has done what it is there for.
    slots = [slot for slot in service.slots.values() if slot.wanted and slot.state is not State.STOPPED]
    states = {slot.state for slot in slots}
    first = [slot for slot in slots if slot.fresh or slot.state is State.DRAINING]  # which then starts afresh
    if not slots or (State.READY in states and not first):
        return None
    why = f"waits for {service.config.name} to be ready"
    lacking = first if State.READY in states else _hopeful(slots)
    if not lacking:
        said = "has failed" if states == {State.FAILED} else "is in backoff"
        return Block(f"{why}, which {said}", hopeless=True)
    behind = known.get(service.config.name) if all(slot.current is None for slot in lacking) else None
    if behind is None:
        return Block(why)
    root = behind.root or behind.why
    return Block(f"{why}, which {root}", root, behind.hopeless)


def _hopeful(slots: list[Slot]) -> list[Slot]:
    """Return those that may become ready without a further backoff, of instances none of which serves.

    One that is tried again while others are in backoff is as good as in backoff: they may take turns for
    ever.
    """
    backoff = any(slot.state is State.BACKOFF for slot in slots)
    down = (State.FAILED, State.BACKOFF)
    return [slot for slot in slots if slot.state not in down and not (backoff and slot.again)]


def _stops(services: Mapping[str, Service]) -> dict[str, Block]:
    """Return what stops wait for, by the names of the services that are waiting."""
    busy: dict[str, list[str]] = {}
    for name, service in services.items():
        if service.config.after and any(map(_stopping, service.slots.values())):
            for other in dict.fromkeys(service.config.after):
                busy.setdefault(other, []).append(name)
    return {name: Block(f"stops after {_some(names)}") for name, names in busy.items()}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _stopping(slot: Slot) -> bool:
    return not slot.wanted and slot.state is not State.STOPPED
