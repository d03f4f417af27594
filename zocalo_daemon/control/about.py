"""What the daemon says of itself, for `status` and `version`, and what its operations work on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from zocalo_daemon import __version__
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.control import report
from zocalo_daemon.control.operations import Parts
from zocalo_daemon.control.request import Request
from zocalo_daemon.protocol import control
from zocalo_daemon.site import storage
from zocalo_daemon.supervision.actions import Action
from zocalo_daemon.supervision.crash import Crashes
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.guard import Guard
from zocalo_daemon.supervision.helpers import Helpers
from zocalo_daemon.supervision.logs import EventBook, LogBook
from zocalo_daemon.supervision.premises import Premises
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster


class Host(Protocol):
    """What there is to say something of."""

    config: DaemonConfig
    site: dict[str, Any] | None
    premises: Premises
    state: str
    helpers: Helpers
    guard: Guard
    roster: Roster
    figures: Figures
    log: LogBook
    events: EventBook
    relay: Relay
    relays: list[Relay]
    fleet: Fleet
    crashes: Crashes

    def perform(self, actions: list[Action]) -> None:
        """Carry out what the roster has decided."""


def version() -> dict[str, Any]:
    """Return what identifies a daemon."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "python": sys.version.split()[0],
        "protocol": list(control.VERSIONS),
    }


def version_and_locations(site: dict[str, Any] | None) -> dict[str, Any]:
    """Return the answer of `version`: with the directories that the site configuration names for commands."""
    return {**version(), "locations": storage.locations(site)}


def describe(host: Host, now: float) -> dict[str, Any]:
    """Return the `daemon` part of the status document; `now` in monotonic seconds."""
    return {
        **version(),
        "uptime_s": round(now - host.premises.started, 1),
        "state": host.state,
        "config_files": [str(path) for path in host.config.files],
        "state_dir": str(host.config.state_dir),
        "control_groups": host.premises.groups.describe(),
        **host.helpers.describe(host.guard.trouble),
    }


def parts(host: Host, reload: Callable[[Request], None], reexec: Callable[[Request], None]) -> Parts:
    """Return what the operations work on; `reload` and `reexec` carry out the requests of these names."""
    return Parts(
        roster=host.roster,
        figures=host.figures,
        logbook=host.log,
        eventbook=host.events,
        relays=host.relays,
        perform=host.perform,
        clock=time.monotonic,
        daemon=lambda: describe(host, time.monotonic()),
        transports=lambda: report.transports(
            host.config, host.figures, host.relay.state, host.relay.trouble, time.monotonic()
        ),
        pids=lambda: [worker.pid for worker in host.fleet.processes.values() if worker.pid],
        reload=reload,
        reexec=reexec,
        crashes=host.crashes,
        version=lambda: version_and_locations(host.site),
        stopping=lambda: host.state in ("stopping", "stopped"),
    )
