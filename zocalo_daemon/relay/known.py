"""What every host has said last of its services: the statuses of the topic transient.status (pure).

They come from whoever may send to the broker, so what is kept of them is bounded, field by field and in all,
and what is no status of workflows is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

FORGET = 90.0  # seconds without news; workflows' status_monitor takes as long
MOST_BODY = 16 * 1024  # bytes of a message that may be a status
MOST_TEXT = 100  # bytes of a field
MOST_SHARES = 16  # statuses in `utilization`
ROOM = 3 * 1024 * 1024  # bytes of all that is kept, so that it fits into a frame of the control socket
LOWEST, HIGHEST = -2, 7  # statuses of workflows
TEARDOWN = -2  # the process is about to end

# The fields of workflows, of zocalo, of its wrappers, and ours.
_TEXTS = (
    *("statustext", "service", "serviceclass", "workflows"),
    *("zocalo", "tag", "cluster_JOB_ID", "cluster_SGE_CELL", "container_image", "container_node"),
    *("task", "instance"),
)

Status = dict[str, Any]


class _Entry(NamedTuple):
    status: Status
    transport: str
    seen: float  # monotonic seconds
    size: int


class Known:
    """The latest status of each process, by its `host`, which is that of the machine with its pid."""

    def __init__(self, room: int = ROOM) -> None:
        self._entries: dict[str, _Entry] = {}  # the one that was heard of longest ago first
        self._room = room
        self._used = 0

    def hear(self, transport: str, body: bytes, now: float) -> None:
        """Take in a message of the topic; `now` in monotonic seconds, as all times here."""
        if len(body) > MOST_BODY:
            return
        try:
            status = json.loads(body)
        except (ValueError, RecursionError):
            return
        if isinstance(status, dict):
            self.note(transport, status, now)

    def note(self, transport: str, status: Mapping[str, Any], now: float) -> None:
        """Take in a status."""
        plain = _plain(status)
        if plain is None:
            return
        self._sweep(now)
        host = plain["host"]
        if old := self._entries.pop(host, None):
            self._used -= old.size
        size = len(json.dumps(plain, ensure_ascii=False).encode()) + len(transport)
        # Who is known stays known: somebody who invents hosts must not push out the others.
        if plain["status"] != TEARDOWN and self._used + size <= self._room:
            self._entries[host] = _Entry(plain, transport, now, size)
            self._used += size

    def listing(self, now: float) -> list[Status]:
        """Return every status with `transport` and `seen_s`: how many seconds ago it was heard."""
        self._sweep(now)
        return [
            {**entry.status, "transport": entry.transport, "seen_s": round(max(0.0, now - entry.seen), 1)}
            for _, entry in sorted(self._entries.items())
        ]

    def _sweep(self, now: float) -> None:
        while self._entries:
            host, entry = next(iter(self._entries.items()))
            if now - entry.seen < FORGET:
                return
            del self._entries[host]
            self._used -= entry.size


def _plain(status: Mapping[str, Any]) -> Status | None:
    """Return the known fields of a status, shortened; None if it is none."""
    host, code = status.get("host"), status.get("status")
    if not isinstance(host, str) or not 0 < len(host.encode("utf-8", "replace")) <= 2 * MOST_TEXT:
        return None
    if type(code) is not int or not LOWEST <= code <= HIGHEST:
        return None
    made: Status = {"host": _text(host, 2 * MOST_TEXT), "status": code}
    for name in _TEXTS:
        value = status.get(name)
        if isinstance(value, (str, int, float)):
            made[name] = _text(str(value), MOST_TEXT)
    shares = status.get("utilization")
    if isinstance(shares, dict):
        made["utilization"] = {
            str(state)[:4]: float(share)
            for state, share in list(shares.items())[:MOST_SHARES]
            if type(share) in (int, float) and 0 <= share <= 1
        }
    return made


def _text(text: str, most: int) -> str:
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
