"""What the relay reports of its transports and the workers that use them (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zocalo_daemon.relay import spooling

if TYPE_CHECKING:
    from zocalo_daemon.relay.member import Member
    from zocalo_daemon.relay.session import Session


class Figures:
    """The figures; they remember since when each transport has been in its state."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, float]] = {}  # transport: state, seconds since the epoch

    def look(self, sessions: Iterable[Session], members: Iterable[Member], wall: float) -> dict[str, Any]:
        """Return the figures; `wall` is in seconds since the epoch."""
        return {
            "workers": _workers(sessions),
            "transports": [self._transport(member, wall) for member in members],
        }

    def _transport(self, member: Member, wall: float) -> dict[str, Any]:
        status = member.status()
        state, since = self._since.get(member.name, ("", wall))
        if state != status.state:
            since = wall
            self._since[member.name] = status.state, since
        sessions = member.sessions.values()
        return {
            "name": member.name,
            "driver": member.broker.driver,
            "state": status.state,
            "since": since,
            "host": status.host,
            "detail": status.detail,
            "next_attempt": status.next_attempt,
            "connections": status.connections,
            "subscriptions": sum(not c.window.closed for s in sessions for c in s.consumers.values()),
            "unsettled": member.ledger.unsettled,
            **(member.spool.figures() if member.spool else spooling.NOTHING),
        }


def _workers(sessions: Iterable[Session]) -> dict[str, dict[str, Any]]:
    workers: dict[str, dict[str, Any]] = {}
    for session in sessions:
        known = workers.setdefault(
            str(session.pid),
            {"worker": session.worker, "processed": 0, "in_flight": 0, "subscriptions": 0, "turns": 0},
        )
        known["processed"] += session.processed
        known["in_flight"] += session.held
        known["turns"] += session.turns
        known["subscriptions"] += sum(not one.window.closed for one in session.consumers.values())
    return workers
