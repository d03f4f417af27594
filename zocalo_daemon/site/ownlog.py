"""What of a site's logging also concerns the daemon's own log: its Graylog servers (pure).

Handlers of other kinds may do anything, wait too, and belong to services alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FACTORIES = frozenset(
    f"{module}.{name}"
    for module, names in {
        "zocalo.configuration.plugin_logging": ("GraylogUDPHandler", "GraylogTCPHandler"),
        "zocalo_daemon.site.graylog": ("udp_handler", "tcp_handler"),
    }.items()
    for name in names
)


def configurations(site: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the plugin configurations that name a Graylog server, without their other handlers.

    Args:
        site: as `load` returns it.
    """
    site = site or {}
    environments, known = site.get("environments") or {}, site.get("configurations") or {}
    active = [known.get(entry) for name in site.get("active") or () for entry in environments.get(name) or ()]
    parts = (_part(one) for one in active if isinstance(one, Mapping))
    return [part for part in parts if part]


def _part(configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    if configuration.get("plugin") == "graylog":
        return dict(configuration)
    given = configuration.get("handlers")
    if configuration.get("plugin") != "logging" or not isinstance(given, Mapping):
        return None
    handlers = {
        name: one for name, one in given.items() if isinstance(one, Mapping) and one.get("()") in _FACTORIES
    }
    if not handlers or configuration.get("incremental"):
        return None
    loggers = configuration.get("loggers") or {}
    return {
        **{part: configuration.get(part) or {} for part in ("filters", "formatters")},
        "plugin": "logging",
        "handlers": handlers,
        "loggers": {name: _with(handlers, entry) for name, entry in loggers.items()},
        "root": _with(handlers, configuration.get("root") or {}),
    }


def _with(handlers: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "handlers": [name for name in entry.get("handlers") or () if name in handlers]}
