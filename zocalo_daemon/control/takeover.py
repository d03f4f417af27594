"""All that the supervisor's old code leaves to the new one: one line here for each owner of a state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from zocalo_daemon.config import schema
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.control import reload, request, roles, server
from zocalo_daemon.control.operations import Operations
from zocalo_daemon.control.request import Request
from zocalo_daemon.supervision import (
    actions,
    events,
    figures,
    fleet_handover,
    forkserver,
    groups,
    handover,
    lifecycle,
    liveness,
    plain,
    restart,
    slots,
)
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.guard import Guard
from zocalo_daemon.supervision.handover import Leaving, Taking
from zocalo_daemon.supervision.helpers import Helpers
from zocalo_daemon.supervision.logs import EventBook, LogBook
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.premises import Premises
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.strays import Strays

# Whatever is not a scalar, a list or a map in what is handed over is of a class in one of these modules.
TYPES = plain.types_of(
    schema, slots, lifecycle, liveness, restart, events, actions, forkserver, figures, groups, request, roles
)


class Host(Protocol):
    """The daemon, as the owner of all that has a state."""

    config: DaemonConfig
    site: dict[str, Any] | None
    premises: Premises
    loop: Loop
    log: LogBook
    events: EventBook
    figures: Figures
    roster: Roster
    relay: Relay
    relays: list[Relay]
    fleet: Fleet
    helpers: Helpers
    strays: Strays
    guard: Guard
    operations: Operations
    reload: reload.Reload
    server: server.ControlServer


def hand_over(host: Host, leaving: Leaving) -> dict[str, Any]:
    """Return the document with the whole state of the supervisor; nothing of it is changed.

    Raises:
        TypeError: something in it is not plain.
    """
    graph = {
        "config": host.config,
        "premises": host.premises.hand_over(leaving),
        "roster": handover.states(host.roster.parts()),
        "fleet": fleet_handover.hand_over(host.fleet, leaving),
        "relay": host.relay.hand_over(leaving),
        "more_relays": [relay.hand_over(leaving) for relay in host.relays[1:]],
        "figures": handover.carried(host.figures),
        "helpers": handover.carried(host.helpers),
        "guard": handover.carried(host.guard),
        "strays": host.strays.hand_over(),
        "operations": handover.carried(host.operations),
        "reload": handover.carried(host.reload),
    }
    return {
        "pid": os.getpid(),
        "graph": plain.dump(graph, TYPES),
        # Large, and plain as they are.
        "clients": plain.dump(host.server.hand_over(leaving), TYPES),
        "site": host.site,
        "logs": host.log.hand_over(),
        "events": host.events.hand_over(),
    }


def read(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a document that a new daemon is made of: configuration and premises among it.

    Raises:
        ProtocolError: it was written by code that is too different.
    """
    graph: dict[str, Any] = plain.load(document["graph"], TYPES)
    return graph


def take_over(
    host: Host, document: Mapping[str, Any], graph: Mapping[str, Any], taking: Taking
) -> list[Request]:
    """Have a new daemon go on where the old code was, but for its loop; return who has asked for that.

    Nothing is said, sent or started here, so that it can be rehearsed.

    Raises:
        ProtocolError: it was written by code that is too different, or a descriptor is not what it should be.
    """
    askers: list[Request] = []

    def resume(request: Request, how: dict[str, Any] | None) -> None:
        if request.op == "reexec":
            askers.append(request)
        else:
            host.operations.resume(request, how)

    host.log.take_over(document["logs"])
    host.events.take_over(document["events"])
    handover.set_states(host.roster.parts(), graph["roster"])
    fleet_handover.take_over(host.fleet, graph["fleet"], taking, host.loop.selector, host.log)
    for relay, state in zip(host.relays, (graph["relay"], *graph.get("more_relays", ())), strict=True):
        relay.take_over(state, taking)
    handover.carry(host.figures, graph["figures"])
    handover.carry(host.helpers, graph["helpers"])
    handover.carry(host.guard, graph["guard"])
    host.strays.take_over(graph["strays"])
    handover.carry(host.operations, graph["operations"])
    handover.carry(host.reload, graph["reload"])
    host.server.take_over(plain.load(document["clients"], TYPES), taking, resume)
    return askers
