"""Directories that commands work in: as an option says, else a variable, else the site of the daemon."""

from __future__ import annotations

import os

from zocalo_daemon.errors import NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zocalo_daemon.client.connection import Connection

DROP = "zocalo.go.fallback_location"
PURGE = "zocalo.dlq.purge_location"
VARIABLES = {DROP: "ZOCALO_GO_FALLBACK_LOCATION", PURGE: "ZOCALO_DLQ_PURGE_LOCATION"}


def find(daemon: Connection, key: str, given: str | None = None) -> str | None:
    """Return the directory for a key of the site configuration's storage, None if nobody has said it."""
    found = given or os.environ.get(VARIABLES[key])
    if found:
        return found
    try:
        found = (daemon.call("version").get("locations") or {}).get(key)
    except NotRunning:
        return None
    return str(found) if found else None
