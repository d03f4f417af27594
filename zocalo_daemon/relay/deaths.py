"""What dead workers held: it goes back, and the delivery that a worker died of is counted.

The relay learns of a death twice: the worker's socket closes, and the supervisor says how it ended and which
delivery it was at. Who comes first is chance, so a worker that closes with deliveries in hand keeps them
until the supervisor has spoken, or for GRACE if it does not: then the worker has only disconnected. A
service that fails disconnects in good order before it ends, so that this is the usual case.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zocalo_daemon.brokers.deadletters import PREFIX
from zocalo_daemon.relay.member import Member
from zocalo_daemon.relay.poison import Poison
from zocalo_daemon.relay.session import Session

GRACE = 1.0  # seconds
MOST_BODY = 16 * 1024  # bytes of the body in an answer

Log = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Death:
    """What the supervisor says about a worker that has ended (protocol/link.py, `forfeit`)."""

    pid: int
    crash: int | None = None
    limit: int | None = None
    delivery: int | None = None


class Deaths:
    """Sessions that have ended with deliveries in hand.

    Args:
        poison: where deaths are counted.
        log: takes a level of logging and a line.
    """

    def __init__(self, poison: Poison, log: Log) -> None:
        self._poison = poison
        self._log = log
        self._waiting: dict[Session, float] = {}  # until when, in monotonic seconds

    def ended(self, session: Session, now: float) -> None:
        """A session's socket is closed."""
        if session.worker and session.held:
            session.member.detach(session)
            session.channel.close()
            self._waiting[session] = now + GRACE
        else:
            session.leave()

    def settle(self, death: Death) -> dict[str, Any]:
        """Put back what a dead worker held; return how much that was, and the delivery that it was at."""
        held, told = 0, None
        for session in [one for one in self._waiting if one.pid == death.pid]:
            del self._waiting[session]
            held += session.held
            told = self._settle(session, death) or told
        return {"held": held, "delivery": told}

    def _settle(self, session: Session, death: Death) -> dict[str, Any] | None:
        member, reason = session.member, ""
        at = member.holding(session, death.delivery) if death.delivery else None
        if at is None:
            member.leave(session, death.delivery)
            return None
        queue, message = at
        place = (member.name, queue, message.headers, message.body)
        self._poison.look()
        crashes = [] if death.crash is None else self._poison.crashed(*place, death.crash)
        if self._poison.shared:
            self._save()  # before the message goes back, perhaps to another relay
        # A dead letter that is rejected stays where it is (brokers/planning.py).
        if death.limit is not None and len(crashes) >= death.limit and not queue.startswith(PREFIX):
            reason = explain(crashes)
            self._poison.forget(*place)
        member.leave(session, death.delivery, reason)
        return {
            "number": death.delivery,
            "transport": member.name,
            "queue": queue,
            "headers": dict(message.headers),
            "body": message.body[:MOST_BODY],
            "size": len(message.body),
            "redelivered": message.redelivered,
            "crashes": crashes,
            "dead_lettered": bool(reason),
            "reason": reason,
        }

    def release(self, member: Member) -> None:
        """Put back what is left of a member that is about to close."""
        for session in [one for one in self._waiting if one.member is member]:
            del self._waiting[session]
            session.leave()

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `poll` must be called again, or None."""
        return max(0.0, min(self._waiting.values()) - now) if self._waiting else None

    def poll(self, now: float) -> None:
        """Save the counts, read those of other relays, give up on those of whose death nobody has told."""
        over = [one for one, until in self._waiting.items() if until <= now]
        for session in over:
            del self._waiting[session]
            session.leave()
        self._save()
        self._poison.look()

    def _save(self) -> None:
        if problem := self._poison.save():
            self._log(logging.ERROR, f"{problem}: crashes would not be counted over a restart")

    def finish(self) -> None:
        """Put back what is left: the relay ends."""
        for session in self._waiting:
            session.leave()
        self._waiting.clear()
        self._poison.save()


def explain(crashes: list[int]) -> str:
    """Return the reason of a dead letter."""
    died = "1 worker has died of it" if len(crashes) == 1 else f"{len(crashes)} workers have died of it"
    reports = [str(number) for number in crashes if number]
    if not reports:
        return died
    return f"{died}: crash report{'s' if len(reports) > 1 else ''} {', '.join(reports)} (zocaloctl crashes)"
