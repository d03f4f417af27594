"""The document of `zocaloctl status` (pure, but for the figures that are passed in)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Service, Slot, Worker

# The state of a service is the worst of its wanted instances, in this order.
_WORST_FIRST = (State.FAILED, State.BACKOFF, State.STARTING, State.DRAINING, State.STOPPED, State.READY)

_FOR_ALL = ("version", "pid", "python", "protocol", "uptime_s", "state")


def services(
    roster: Roster, names: Sequence[str], figures: Figures, now: float, crashes: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the `services` of the status document.

    Args:
        now: in monotonic seconds.
        crashes: the number of the latest crash report of each instance that has any.
    """
    return [_service(roster.services[name], figures, now, crashes) for name in names]


def limited(document: dict[str, Any]) -> dict[str, Any]:
    """Return a status document without what is not about its services, for a peer that may see only those."""
    daemon = {key: value for key, value in document["daemon"].items() if key in _FOR_ALL}
    return {**document, "daemon": daemon, "transports": []}


def transports(
    config: DaemonConfig, figures: Figures, relay_state: str, trouble: str, now: float
) -> list[dict[str, Any]]:
    """Return the `transports` of the status document: what the relay has reported of them, if it has.

    Args:
        trouble: why the relay does not start, "" if it does.
        now: in monotonic seconds.
    """
    known = {transport["name"]: _transport(transport, now) for transport in figures.transports}
    nothing: dict[str, Any] = {"connections": 0, "subscriptions": 0, "unsettled": 0, "spooled": 0}
    nothing |= {"spooled_bytes": 0, "spooled_since": None, "since": None, "next_attempt_s": None}
    detail = {"detail": trouble} if trouble else {}
    return [
        (
            known.get(name)
            or {"name": name, "driver": transport.driver, "state": relay_state, "host": "", **nothing}
        )
        | detail
        for name, transport in config.transports.items()
    ]


def _transport(told: Mapping[str, Any], now: float) -> dict[str, Any]:
    made = {key: value for key, value in told.items() if key != "next_attempt"}
    due = told.get("next_attempt")
    return made | {"next_attempt_s": round(max(0.0, due - now), 1) if due is not None else None}


def _service(service: Service, figures: Figures, now: float, crashes: Mapping[str, int]) -> dict[str, Any]:
    slots = list(service.slots.values())
    wanted = [slot for slot in slots if slot.wanted]
    states = {slot.state for slot in wanted or slots}
    worst = next((state for state in _WORST_FIRST if state in states), State.STOPPED)
    reasons = [slot.reason for slot in wanted or slots if slot.state is worst and slot.reason]
    if service.count != service.config.instances and not service.removed:
        reasons.append(f"scaled to {service.count}, the configuration says {service.config.instances}")
    return {
        "name": service.config.name,
        "class": service.config.service_class,
        "wanted": len(wanted),
        "state": str(worst),
        "reason": reasons[0] if reasons else None,
        "runtime": service.config.runtime,
        "instances": [_instance(slot, figures, now) | {"last_crash": crashes.get(slot.id)} for slot in slots],
    }


def _instance(slot: Slot, figures: Figures, now: float) -> dict[str, Any]:
    worker = slot.current
    pid = worker.pid if worker else None
    cost = figures.cost(pid or 0)
    work = figures.work(pid or 0)
    started = worker.started_at if worker else None
    due = slot.due if slot.state is State.BACKOFF else None
    return {
        "id": slot.id,
        "pid": pid,
        "state": str(slot.state),
        "beside": [{"pid": other.pid, "state": state} for other, state in _beside(slot)],
        "uptime_s": round(now - started, 1) if started is not None else 0.0,
        "restarts": slot.restarts,
        "last_exit": slot.last_exit,
        "stalled": bool(worker and (worker.stalled or worker.hung)),
        "reason": slot.reason,
        "next_start_s": round(max(0.0, due - now), 1) if due is not None else None,
        "processed": work.processed,
        "in_flight": work.in_flight,
        "rss_bytes": cost.rss_bytes,
        "pss_bytes": cost.pss_bytes,
        "cpu_s": cost.cpu_s,
    }


def _beside(slot: Slot) -> list[tuple[Worker, str]]:
    """Return the worker that a restart has started or replaced, which still starts or finishes."""
    both = ((slot.candidate, "starting"), (slot.retiring, "draining"))
    return [(worker, state) for worker, state in both if worker]
