"""The port of metrics and health: whether it is the daemon that answers there."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

from zocalo_daemon.doctor.findings import Finding, ok, problem
from zocalo_daemon.doctor.situation import Situation

PATIENCE = 2.0  # seconds


def check(situation: Situation) -> Iterator[Finding]:
    """Yield what is wrong with `metrics.listen`; nothing if there is none."""
    where = situation.config.metrics.listen if situation.config else None
    if where is None:
        return
    port = where.rpartition(":")[2]
    answer = _ask(where)
    if situation.answer is None:
        if answer is not None:
            yield problem("metrics", where, "is taken by another program", f"ss -ltnp sport = :{port}")
    elif answer is None:
        yield problem("metrics", where, "nobody listens, though the daemon runs", "zocaloctl reload")
    elif "zocalod_info" not in answer:
        yield problem("metrics", where, "another program answers there", f"ss -ltnp sport = :{port}")
    else:
        yield ok("metrics", where, "answers")


def _ask(where: str) -> str | None:
    """Return the page of metrics; None if nobody accepts, "" if what comes is no such page."""
    address, _, port = where.rpartition(":")
    # Who listens on all addresses is asked on the one of this machine (ip(7), INADDR_ANY).
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(address, address.strip("[]"))  # noqa: S104
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
