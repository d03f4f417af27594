"""The relay among the hosts of a site: tells statuses of its workers, hears those of others, and commands.

The supervisor says about once a second what there is to tell (`statuses` of the link); while nothing happens
it says so, and what it has told last is repeated here. Each telling drives all of this: with the first it
begins to listen, and later it listens to transports that are new. What does not work, because RabbitMQ has no
such exchange, is said once, and tried again after RETRY.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zocalo_daemon.brokers.base import (
    Confirmed,
    Delivered,
    Kind,
    Publication,
    Refused,
    Source,
    Subscribed,
    SubscriptionFailed,
)
from zocalo_daemon.relay.known import Known
from zocalo_daemon.relay.member import Member
from zocalo_daemon.relay.pool import Pool

STATUS, COMMAND = "transient.status", "command"  # topics, as workflows and zocalo name them
EXPIRATION = 15.0  # seconds that a status is news
RETRY = 300.0  # seconds
REPEAT = 5.9  # seconds; workflows tells each status every 6 s
MOST_COMMAND = 4096  # bytes
MOST_OPEN = 1000  # statuses that a broker has not confirmed, before it gets no more

log = logging.getLogger(__name__)


class Place:
    """What one transport is told, and heard from."""

    def __init__(self, member: Member, hear: Callable[[str, str, bytes], None]) -> None:
        self._member, self._hear = member, hear
        self._again: dict[str, float] = dict.fromkeys((STATUS, COMMAND), 0.0)  # topics not listened to
        self._trouble: dict[str, str] = {}  # what does not work: why
        self._open = 0
        self._silent_until = 0.0

    def listen(self, now: float) -> None:
        """Subscribe to what is not listened to, if it is time for that."""
        for topic in [topic for topic, at in self._again.items() if now >= at]:
            del self._again[topic]
            source = Source(Kind.TOPIC, topic, retroactive=topic == STATUS, acknowledged=False)
            self._member.consumers.listen(source, partial(self._heard, topic))

    def tell(self, statuses: Sequence[dict[str, Any]], now: float) -> None:
        """Broadcast statuses, unless the broker is away: they would be old when it comes back.

        Nor to a topic that cannot be heard: on RabbitMQ each attempt would cost it a channel.
        """
        if now < self._silent_until or STATUS in self._again:
            return
        if self._member.broker.status().state != "connected":
            return
        for status in statuses[: MOST_OPEN - self._open]:
            body = json.dumps(status).encode()
            self._open += 1
            self._member.announce(
                Publication(Kind.TOPIC, STATUS, {}, body, expiration=EXPIRATION, persistent=False),
                self._told,
            )

    @property
    def trouble(self) -> str:
        """Why it hears or tells nothing, or not all of it; "" if it does."""
        return "; ".join(self._trouble.values())

    def _heard(self, topic: str, event: Delivered | Subscribed | SubscriptionFailed) -> None:
        if isinstance(event, Delivered):
            self._hear(self._member.name, topic, event.body)
        elif isinstance(event, Subscribed):
            self._trouble.pop(topic, None)
        else:
            self._again[topic] = time.monotonic() + RETRY
            what = "statuses are neither told nor heard" if topic == STATUS else "commands are not heard"
            self._warn(topic, f"{what}: {event.reason}")

    def _told(self, event: Confirmed | Refused) -> None:
        self._open -= 1
        if isinstance(event, Confirmed):
            self._trouble.pop("", None)
        else:
            self._silent_until = time.monotonic() + RETRY
            self._warn("", f"statuses are not told: {event.reason}")

    def _warn(self, what: str, text: str) -> None:
        if self._trouble.get(what) != text:
            log.warning("%s: %s; tried again every %g minutes", self._member.name, text, RETRY / 60)
        self._trouble[what] = text


class Cluster:
    """All transports.

    Args:
        report: sends a report to the supervisor.
    """

    def __init__(self, pool: Pool, report: Callable[[dict[str, Any]], None]) -> None:
        self._pool, self._report = pool, report
        self._known = Known()
        self._places: dict[Member, Place] = {}
        self._since: float | None = None  # when it began to listen
        self._repeat: Callable[[], None] | None = None
        self._repeat_at = 0.0

    def tell(self, told: Sequence[dict[str, Any]], *, aloud: bool, repeat: bool = False) -> None:
        """Take note of statuses of own workers.

        Args:
            told: maps with a `transport` ("" for the default one) and the `status`.
            aloud: broadcast them.
            repeat: do it again every REPEAT, until the next call.
        """
        now = time.monotonic()
        self._repeat = partial(self.tell, told, aloud=aloud, repeat=True) if repeat else None
        self._repeat_at = now + REPEAT
        self._listen(now)
        by_member: dict[Member, list[dict[str, Any]]] = {}
        for one in told:
            name = str(one["transport"] or "")
            if name and name not in self._pool:
                continue  # of a worker that a reload is about to replace
            member = self._pool.get(name)
            self._known.note(member.name, one["status"], now)
            by_member.setdefault(member, []).append(one["status"])
        for member, statuses in by_member.items() if aloud else ():
            self._places[member].tell(statuses, now)

    def timeout(self, now: float) -> float | None:
        """Return in how many seconds `poll` is due; None: not before the next `tell`."""
        return max(0.0, self._repeat_at - now) if self._repeat else None

    def poll(self, now: float) -> None:
        """Repeat statuses, if it is time for that."""
        if self._repeat and now >= self._repeat_at:
            self._repeat()

    def describe(self) -> dict[str, Any]:
        """Return what is known of all hosts, and what is not heard."""
        now = time.monotonic()
        return {
            "services": self._known.listing(now),
            "listening_s": round(now - self._since, 1) if self._since is not None else 0.0,
            "transports": [
                {"name": member.name, "trouble": place.trouble} for member, place in self._places.items()
            ],
        }

    def _listen(self, now: float) -> None:
        if self._since is None:
            self._since = now
        # One that has come back with other settings is another member.
        self._places = {m: self._places.get(m) or Place(m, self._hear) for m in self._pool}
        for place in self._places.values():
            place.listen(now)

    def _hear(self, transport: str, topic: str, body: bytes) -> None:
        if topic == STATUS:
            self._known.hear(transport, body, time.monotonic())
        elif command := _command(body):
            self._report({"report": "command", "transport": transport, **command})


def _command(body: bytes) -> dict[str, Any] | None:
    """Return what a broadcast command asks for: `command` and its filters; None if it is none.

    A filter that is there but is no text matches nothing: `null` means processes without a service.
    """
    if len(body) > MOST_COMMAND:
        return None
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("command") != "shutdown":
        return None
    filters = {name: message[name] for name in ("host", "service") if name in message}
    if not filters or not all(isinstance(value, str) for value in filters.values()):
        return None
    return {"command": "shutdown", **filters}
