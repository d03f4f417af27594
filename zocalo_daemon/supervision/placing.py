"""Which relay a worker uses when there are several, and what each relay is told (pure).

The first relay has every transport, and alone the embedded ones: their database has one writer. The others
have those whose broker is elsewhere. Workers of these are dealt out in the order of the configuration,
instance by instance, so that a worker that is started again comes to the same relay.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from zocalo_daemon.config.schema import DaemonConfig, ServiceConfig
from zocalo_daemon.values import Value, parts


def relay_of(instance: str, service: ServiceConfig, config: DaemonConfig) -> int:
    """Return the number of the relay of a worker, 0 for the first."""
    if config.relay_processes == 1 or not _is_elsewhere(service, config):
        return 0
    before = 0
    for other in config.services.values():
        if other.name == service.name:
            break
        before += other.instances if _is_elsewhere(other, config) else 0
    return (before + int(instance.rpartition("/")[2])) % config.relay_processes


def relay_settings(config: DaemonConfig, secret: str, index: int = 0) -> dict[str, Any]:
    """Return what a relay is told (protocol/link.py).

    Args:
        secret: what workers show it.
        index: which relay it is.
    """
    return {
        "parent": os.getpid(),
        "title": "zocalod",
        "index": index,
        "relays": config.relay_processes,
        "secret": secret if config.relay.clients == "workers" else "",
        "secret_of_workers": secret,
        "state_dir": str(config.state_dir),
        **transport_settings(config, index),
    }


def transport_settings(config: DaemonConfig, index: int = 0) -> dict[str, Any]:
    """Return what a relay is told of transports, when it starts and when they change."""
    return {
        "default_transport": config.default_transport,
        "transports": [
            _plain(one) for one in config.transports.values() if not index or one.driver != "embedded"
        ],
    }


def _is_elsewhere(service: ServiceConfig, config: DaemonConfig) -> bool:
    transport = config.transports.get(service.transport or config.default_transport)
    return transport is not None and transport.driver != "embedded"


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return {name: _plain(part) for name, part in parts(value).items()}
    return str(value) if isinstance(value, Path) else value
