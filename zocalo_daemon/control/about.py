"""What the daemon says of itself, for `status` and `version`."""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

from zocalo_daemon import __version__
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.protocol import control
from zocalo_daemon.site import storage
from zocalo_daemon.supervision.guard import Guard
from zocalo_daemon.supervision.helpers import Helpers
from zocalo_daemon.supervision.premises import Premises


class Host(Protocol):
    """What there is to say something of."""

    config: DaemonConfig
    premises: Premises
    state: str
    helpers: Helpers
    guard: Guard


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
