"""From and to the parts of a transport's frames (pure; wrong parts raise what Python raises)."""

from __future__ import annotations

from typing import Any

from zocalo_daemon.brokers.base import Delivered, Kind, Outcome, Publication, Source
from zocalo_daemon.protocol import worker as protocol

PREFETCH_LIMIT = 65535  # the highest prefetch_count of AMQP
_SENDABLE = {kind.value: kind for kind in (Kind.QUEUE, Kind.TOPIC)}  # looking up is cheaper than Kind(kind)


def source(kind: int, name: str, options: dict[str, Any]) -> Source:
    """Return the source of a SUBSCRIBE."""
    return Source(
        Kind(kind),
        str(name),
        exclusive=bool(options.get("exclusive")),
        priority=int(options.get("priority") or 0),
        retroactive=bool(options.get("retroactive")),
        acknowledged=bool(options.get("ack")),
        selector=str(options.get("selector") or ""),
        ignore_namespace=bool(options.get("ignore_namespace")),
        prefetch=min(PREFETCH_LIMIT, max(0, int(options.get("prefetch") or 0))),
    )


def publication(parts: list[Any], origin: tuple[str, int] | None) -> Publication:
    """Return the publication of a SEND or COMMIT."""
    kind, destination, headers, body, options = parts
    if type(headers) is not dict or type(body) is not bytes or type(destination) is not str:
        raise TypeError("headers are a map, a body is bytes, a destination is text")
    where = _SENDABLE[kind]
    if not options:
        return Publication(where, destination, headers, body, origin=origin)
    expiration, priority = options.get("expiration"), options.get("priority")
    return Publication(
        where,
        destination,
        headers,
        body,
        delay=float(options.get("delay", 0.0)),
        expiration=None if expiration is None else float(expiration),
        exchange=str(options.get("exchange", "")),
        priority=None if priority is None else int(priority),
        persistent=bool(options.get("persistent", True)),
        ignore_namespace=bool(options.get("ignore_namespace")),
        origin=origin,
    )


def outcome(requeue: bool | str | None) -> Outcome:
    """Return what a NACK means: without `requeue`, or with a reason in its place, to dead-letter."""
    return Outcome.REQUEUE if requeue and not isinstance(requeue, str) else Outcome.REJECT


def delivery(sub: int, number: int, event: Delivered) -> protocol.Frame:
    """Return the DELIVER frame of a message."""
    return [
        protocol.DELIVER,
        sub,
        number,
        event.redelivered,
        event.headers,
        event.body,
        event.routing_key,
        event.exchange,
    ]
