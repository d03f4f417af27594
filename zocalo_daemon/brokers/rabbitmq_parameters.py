"""From settings and messages to what pika needs."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import pika

# Of basic.properties, what only senders and receivers care for (AMQP 0-9-1, 1.8.3); all but timestamp are
# text. A user_id is checked by the broker against the connection, an expiration begins anew.
CARRIED = {
    *("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "timestamp", "type"),
    *("app_id", "cluster_id"),
}
HEARTBEAT = 30.0  # seconds; where no configuration gives another


def parameters_of(host: str, settings: Mapping[str, Any], tls: ssl.SSLContext | None, title: str) -> Any:
    """Return what pika needs to know.

    Args:
        host: HOST:PORT.
        settings: vhost, username, password, and heartbeat in seconds.
        title: how the broker's tools call the connection.
    """
    name, _, port = host.rpartition(":")
    return pika.ConnectionParameters(
        host=name.strip("[]"),
        port=int(port),
        virtual_host=settings.get("vhost") or "/",
        credentials=pika.PlainCredentials(
            settings.get("username") or "guest", settings.get("password") or "guest"
        ),
        heartbeat=max(1, round(settings.get("heartbeat") or HEARTBEAT)),
        ssl_options=pika.SSLOptions(tls, name) if tls else None,
        client_properties={"connection_name": title},
    )


def properties_of(
    headers: dict[str, Any],
    *,
    expiration: str | None,
    priority: int | None,
    persistent: bool,
    more: Mapping[str, Any] | None = None,
) -> Any:
    """Return the properties of a message.

    Args:
        expiration: in milliseconds, as text.
        more: those of CARRIED, by name.
    """
    made = pika.BasicProperties(
        headers=headers, delivery_mode=2 if persistent else 1, priority=priority, expiration=expiration
    )
    for name in CARRIED & (more or {}).keys():
        setattr(made, name, (more or {})[name])
    return made


def properties_of_arrival(properties: Any) -> dict[str, Any]:
    """Return `carried` for the `properties` of an `Arrival`."""
    if isinstance(properties, bytes):
        properties = pika.BasicProperties().decode(properties)
    return {} if properties is None else carried(properties)


def carried(properties: Any) -> dict[str, Any]:
    """Return what a message has besides headers and is to keep: `more` of `properties_of`, and two others."""
    usual = {"delivery_mode": 2}
    named = ((name, getattr(properties, name)) for name in (*sorted(CARRIED), "priority", "delivery_mode"))
    return {name: value for name, value in named if value is not None and usual.get(name) != value}
