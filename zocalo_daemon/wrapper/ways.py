"""By which transport the messages of a job go (pure)."""

from __future__ import annotations

from typing import NamedTuple

POOL, PIKA, STOMP = "RelayTransport", "PikaTransport", "StompTransport"
DRIVERS = {PIKA: "rabbitmq", STOMP: "activemq"}


class Asked(NamedTuple):
    """What command line, site configuration and machine say.

    Args:
        transport: of `-t`, or "".
        flags: the transports that flags of the command line are about, as --rabbit-host.
        environments: whether environments of the site were named.
        socket: whether the socket of a daemon was named.
        pool: whether there is a socket of a daemon's relay.
        configured: the transports that active environments define.
        default: the transport that workflows would take, by the site or by itself.
    """

    transport: str = ""
    flags: frozenset[str] = frozenset()
    environments: bool = False
    socket: bool = False
    pool: bool = False
    configured: frozenset[str] = frozenset()
    default: str = PIKA


def ways(asked: Asked) -> list[str]:
    """Return the transports that may be used, the best one first.

    What was asked for by name is used and nothing else: in another environment, the daemon's broker may be
    the wrong one. Otherwise the daemon's pool is better than a connection of one's own.
    """
    if asked.transport:
        return [asked.transport]
    if asked.flags:
        return [_among(asked.flags, asked.default)]
    if asked.socket:
        return [POOL]
    direct = [_among(asked.configured, asked.default)] if asked.configured else []
    if asked.environments and direct:
        return direct
    if asked.pool:
        return [POOL, *direct]
    return direct or [asked.default]


def _among(names: frozenset[str], default: str) -> str:
    return default if default in names else min(names)
