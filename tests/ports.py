"""Ports of the loopback interface for servers that tests start, stop and start again."""

from __future__ import annotations

import random
import socket

# Below those that the kernel hands out for outgoing connections (ip(7), ip_local_port_range): while a server
# is away, one of these may take its port, even the very attempt to connect to it.
FIRST, LAST = 12_000, 32_000


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody uses."""
    found: list[int] = []
    candidates = iter(random.SystemRandom().sample(range(FIRST, LAST), LAST - FIRST))
    while len(found) < count:
        port = next(candidates)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]
