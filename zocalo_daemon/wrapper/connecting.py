"""Connects a job: by the first of its ways that works."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import workflows
import workflows.transport

from zocalo_daemon.worker.transport import RelayTransport
from zocalo_daemon.wrapper import site
from zocalo_daemon.wrapper.outcome import Unreachable
from zocalo_daemon.wrapper.ownrelay import OwnRelay
from zocalo_daemon.wrapper.ways import DRIVERS, POOL

log = logging.getLogger("zocalo.wrap")


@contextlib.contextmanager
def connected(ways: Sequence[str]) -> Iterator[Any]:
    """Yield a transport that is connected, and disconnect it.

    Args:
        ways: names of transports, of which the first one that works is used.

    Raises:
        Unusable: what is configured for one of them cannot be used.
        Unreachable: none of them works.
    """
    with contextlib.ExitStack() as stack:
        yield _first(ways, stack)


def _first(ways: Sequence[str], stack: contextlib.ExitStack) -> Any:
    for name in ways[:-1]:
        try:
            return _connect(name, stack)
        except Unreachable as e:
            log.warning("%s; trying %s", e, ways[-1])
    return _connect(ways[-1], stack)


def _connect(name: str, stack: contextlib.ExitStack) -> Any:
    transport: Any = RelayTransport() if name in (POOL, *DRIVERS) else workflows.transport.lookup(name)()
    if name in DRIVERS:
        relay = OwnRelay(site.broker(name))
        stack.callback(relay.close)
        relay.wait_connected()
        # Also for what the job starts: a script of it that uses RelayTransport gets the same broker.
        os.environ["ZOCALO_RELAY_SOCKET"] = str(relay.socket)
    try:
        if not transport.connect():
            raise Unreachable(f"{name} does not connect")
    except workflows.Disconnected as e:
        raise Unreachable(str(e)) from None
    stack.callback(transport.disconnect)
    log.info("Connected by %s", f"a relay of its own to {DRIVERS[name]}" if name in DRIVERS else name)
    return transport
