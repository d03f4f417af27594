"""Which management API is meant: that of the site configuration, else of a transport in zocalod.yaml."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zocalo_daemon.config import load as config_load
from zocalo_daemon.config.schema import DaemonConfig, TransportConfig
from zocalo_daemon.errors import ConfigError, UsageError
from zocalo_daemon.site import load as site_load
from zocalo_daemon.values import parts

_ADVICE = "the site configuration needs a plugin rabbitmqapi, or zocalod.yaml a transport with 'management'"


def settings(
    environments: Sequence[str], file: Path | None, transport: str | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the settings of an Api.

    Args:
        environments: of the site configuration; the default one for none.
        file: zocalod.yaml; None for the usual places.
        transport: the one of zocalod.yaml that is meant, whatever the site says.

    Raises:
        ConfigError: a configuration cannot be used.
        UsageError: there is no such API.
    """
    site = environ.get("ZOCALO_CONFIG")
    if environments and not site:
        raise UsageError("there are no environments: set ZOCALO_CONFIG to the site configuration")
    found = None
    if site and not transport and not file:
        found = _of_site(Path(site), environments or [environ.get("ZOCALO_DEFAULT_ENV")])
    if found is None and not environments:
        config = config_load.load(file, environ, os.geteuid())
        found = _of_transports(config, transport)
        if found is None and config.site and not transport:
            found = _of_site(config.site, [config.site_environment])
    if found is None:
        raise UsageError(f"there is no management API to ask: {_ADVICE}")
    return found


def _of_site(path: Path, environments: Sequence[str | None]) -> dict[str, Any] | None:
    found = None
    for environment in environments:
        data = site_load.load(path, environment)
        for entry in (entry for name in data["active"] for entry in data["environments"][name]):
            values = data["configurations"][entry]
            if values["plugin"] == "rabbitmqapi":
                found = {
                    "url": values["base_url"],
                    "username": values["username"],
                    "password": values["password"],
                }
    return found


def _of_transports(config: DaemonConfig, wanted: str | None) -> dict[str, Any] | None:
    """Return the API of the transport that is wanted, of the default one, or of the only one that has any."""
    having = {name: one for name, one in config.transports.items() if one.management}
    if wanted and wanted not in having:
        raise UsageError(f"transport '{wanted}' of zocalod.yaml has no 'management'; {_ADVICE}")
    name = wanted or config.default_transport
    if name not in having and len(having) > 1:
        raise UsageError(f"several transports have a management API: say --transport {' or '.join(having)}")
    chosen = having.get(name) or next(iter(having.values()), None)
    return _of(chosen) if chosen else None


def _of(transport: TransportConfig) -> dict[str, Any]:
    if transport.management is None:
        raise ConfigError(f"transport '{transport.name}' has no management API")
    given = {key: value for key, value in parts(transport.management).items() if value}
    if "username" not in given:
        account = {key: getattr(transport, key) for key in ("username", "password", "password_file")}
        given = {**account, **given}
    return {key: str(value) for key, value in given.items() if value}
