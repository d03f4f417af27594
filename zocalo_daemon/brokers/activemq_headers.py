"""Names and headers as STOMP carries them, and as services know them (pure).

All values are text, as services know them from StompTransport. `x-death` alone has parts: it travels as JSON.
https://activemq.apache.org/components/classic/documentation/stomp lists the headers that mean something.
"""

from __future__ import annotations

import json
from typing import Any

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.activemq_frames import escaped
from zocalo_daemon.brokers.base import NORMAL_PRIORITY, Kind, Publication

LONGEST = 10_000  # bytes of a header line; ActiveMQ ends the connection over one of 10 KiB
LONGEST_NUMBER = 18  # digits; ActiveMQ ends the connection over one that a Java long does not hold
MOST = 900  # headers; ActiveMQ takes 1000
NATIVE_DEAD = "DLQ."  # where ActiveMQ's own dead letters go by queue, and where zocalo.dlq_check looks
SHARED_DEAD = "ActiveMQ.DLQ"

_DEATH = "x-death"
# What frames mean by themselves: a service that sends on what it got must not disturb them.
_FRAME = {
    *("destination", "receipt", "transaction", "content-length", "subscription", "message-id", "ack", "id"),
    *("redelivered", "timestamp", "selector", "browser", "receipt-id"),
}
# ActiveMQ ends the connection over one that is no number.
_NUMBERS = {"priority", "expires", "AMQ_SCHEDULED_DELAY", "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT"}
# What the broker, or the way a message was sent, put there.
_MADE = _FRAME | {
    *("expires", "persistent", "priority", "original-destination", "originalExpiration"),
    *("content-type", "dlqDeliveryFailureCause"),
}
_HIDDEN = {"subscription", "message-id", "ack", "redelivered", "content-length"}  # those of RelayTransport


class Names:
    """What a name of the daemon is called on the broker, and back.

    Args:
        prefix: namespace, without the dot at its end.
    """

    def __init__(self, prefix: str) -> None:
        self._space = f"{prefix.removesuffix('.')}." if prefix else ""
        self.dead = NATIVE_DEAD

    def destination(self, kind: Kind, name: str, *, plain: bool = False) -> str:
        """Return the destination of a queue or topic; a `plain` name is in no namespace."""
        space = "" if plain else self._space
        if kind is Kind.TOPIC:
            return f"/topic/{_spaced(space, name)}"
        if name.startswith(deadletters.PREFIX):
            return f"/queue/{self.dead}{_spaced(space, name.removeprefix(deadletters.PREFIX))}"
        return f"/queue/{_spaced(space, name)}"

    @property
    def all_dead(self) -> str:
        """The destination that stands for every dead-letter queue of this namespace."""
        return f"/queue/{self.dead}{self._space}>"

    def name(self, destination: str) -> str:
        """Return what the daemon calls the queue of a destination."""
        name = destination.removeprefix("/queue/")
        if name.startswith(self.dead):
            return deadletters.PREFIX + name.removeprefix(self.dead).removeprefix(self._space)
        return name.removeprefix(self._space)


def _spaced(space: str, name: str) -> str:
    # What is ActiveMQ's own, its advisories and its dead letters, is in nobody's namespace.
    return name if name.startswith("ActiveMQ.") else space + name


def to_stomp(publication: Publication, destination: str, now: float) -> dict[str, str]:
    """Return the headers of a SEND.

    Args:
        now: seconds since the epoch.

    Raises:
        ValueError: headers that STOMP cannot carry.
    """
    made = {
        escaped(str(key)): _text(value)
        for key, value in publication.headers.items()
        if value is not None and key not in _FRAME
    }
    if "" in made:
        raise ValueError("the name of a header must not be empty")
    made["destination"] = destination
    if publication.kind is not Kind.TOPIC or not publication.persistent:
        made.setdefault("persistent", "true" if publication.persistent else "false")
    if publication.priority is not None:
        made["priority"] = str(publication.priority)
    if publication.delay > 0:
        made["AMQ_SCHEDULED_DELAY"] = str(max(1, int(publication.delay * 1000)))
    if publication.expiration is not None:
        made["expires"] = str(int((now + publication.expiration) * 1000))
    for key in _NUMBERS & made.keys():
        if not made[key].isdecimal() or len(made[key]) > LONGEST_NUMBER:
            raise ValueError(f"the header '{key}' must be a whole number, not '{made[key]}'")
    made["content-length"] = str(len(publication.body))
    if len(made) > MOST or any(len(key) + len(value.encode()) > LONGEST for key, value in made.items()):
        raise ValueError(f"STOMP carries {MOST} headers of up to {LONGEST} bytes")
    return made


def from_stomp(headers: dict[str, str]) -> dict[str, Any]:
    """Return the headers of a message for a service."""
    made: dict[str, Any] = {key: value for key, value in headers.items() if key not in _HIDDEN}
    if _DEATH in made:
        made[_DEATH] = _history(made[_DEATH])
    return made


def as_sent(headers: dict[str, str]) -> dict[str, Any]:
    """Return the headers that the sender of a message gave it."""
    made: dict[str, Any] = {key: value for key, value in headers.items() if key not in _MADE}
    if _DEATH in made:
        made[_DEATH] = _history(made[_DEATH])
    return made


def properties_of(headers: dict[str, str]) -> dict[str, Any]:
    """Return what a message has besides headers, by the names of AMQP, if it is not as usual."""
    made: dict[str, Any] = {}
    priority = headers.get("priority", "")
    if priority.isdecimal() and int(priority) != NORMAL_PRIORITY:
        made["priority"] = int(priority)
    if headers.get("persistent") != "true":
        made["delivery_mode"] = 1
    return made


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    return str(value)


def _history(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
