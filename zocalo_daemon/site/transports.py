"""The transports that a site configuration defines for its services: plugins pika, stomp and transport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zocalo_daemon.config.schema import TransportConfig
from zocalo_daemon.errors import ConfigError

# plugin: transport here, and as workflows calls its class
_DRIVERS = {"pika": ("rabbitmq", "PikaTransport"), "stomp": ("activemq", "StompTransport")}
_PORTS = {"pika": "5672", "stomp": "61613"}


def transports(data: Mapping[str, Any]) -> tuple[dict[str, TransportConfig], str | None]:
    """Return what the active environments define, by name, and which of them is the default.

    Args:
        data: the plain data of `site.load`.

    Raises:
        ConfigError: hosts and ports that do not fit together.
    """
    found: dict[str, TransportConfig] = {}
    default = None
    for plugin, values, entry in _active(data):
        if plugin in _DRIVERS:
            found[_DRIVERS[plugin][0]] = _transport(plugin, values, entry)
        named = values.get("default" if plugin == "transport" else "zocalo.default_transport")
        if plugin in ("transport", "storage") and named:
            default = named
    names = {workflows_name: name for name, workflows_name in _DRIVERS.values()}
    chosen = names.get(str(default))
    return found, chosen if chosen in found else next(iter(found), None)


def _active(data: Mapping[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    entries = [entry for name in data["active"] for entry in data["environments"][name]]
    configurations = [(data["configurations"][entry], entry) for entry in entries]
    return [(values["plugin"], values, entry) for values, entry in configurations]


def _transport(plugin: str, values: Mapping[str, Any], entry: str) -> TransportConfig:
    driver = _DRIVERS[plugin][0]
    return TransportConfig(
        name=driver,
        driver=driver,
        hosts=_hosts(values.get("host", "localhost"), values.get("port", _PORTS[plugin]), entry),
        vhost=str(values.get("vhost", "/")),
        username=_text(values.get("username")),
        password=_text(values.get("password")),
        prefix=str(values.get("prefix", "")),
    )


def _hosts(host: Any, port: Any, entry: str) -> tuple[str, ...]:
    """Return HOST:PORT for comma lists of hosts and ports; one port serves all hosts."""
    hosts = [word.strip() for word in str(host).split(",")]
    ports = [word.strip() for word in str(port).split(",")]
    ports = ports * len(hosts) if len(ports) == 1 else ports
    if len(hosts) != len(ports) or not all(hosts) or not all(word.isdecimal() for word in ports):
        raise ConfigError(f"site configuration {entry!r}: host {host} and port {port} do not fit together")
    return tuple(f"{name}:{number}" for name, number in zip(hosts, ports, strict=True))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
