"""From settings and messages to what pika needs."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import pika

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
    headers: dict[str, Any], *, expiration: str | None, priority: int | None, persistent: bool
) -> Any:
    """Return the properties of a message; `expiration` in milliseconds, as text."""
    return pika.BasicProperties(
        headers=headers, delivery_mode=2 if persistent else 1, priority=priority, expiration=expiration
    )
