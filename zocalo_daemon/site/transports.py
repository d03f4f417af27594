"""The transports that a site configuration defines: plugins pika, stomp, transport and rabbitmqapi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zocalo_daemon.config.schema import ManagementConfig, TransportConfig
from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site.checks import words
from zocalo_daemon.values import replace

# plugin: transport here, and as workflows calls its class
_DRIVERS = {"pika": ("rabbitmq", "PikaTransport"), "stomp": ("activemq", "StompTransport")}


def transports(data: Mapping[str, Any]) -> tuple[dict[str, TransportConfig], str | None]:
    """Return what the active environments define, by name, and which of them is the default.

    Args:
        data: the plain data of `site.load`, which has checked what concerns brokers.

    Raises:
        ConfigError: the default is a transport that is not there.
    """
    found: dict[str, TransportConfig] = {}
    default = place = ""
    management = None
    for plugin, values, entry in _active(data):
        if plugin in _DRIVERS:
            found[_DRIVERS[plugin][0]] = _transport(plugin, values)
        if plugin == "rabbitmqapi" and values.get("base_url"):
            management = _management(values)
        named = values.get("default" if plugin == "transport" else "zocalo.default_transport")
        if plugin in ("transport", "storage") and named:
            default, place = str(named), entry
    if management and "rabbitmq" in found:
        found["rabbitmq"] = replace(found["rabbitmq"], management=management)
    names = {workflows_name: name for name, workflows_name in _DRIVERS.values()}
    chosen = names.get(default)  # any other, as RelayTransport, says nothing about brokers
    if found and chosen and chosen not in found:
        plugin = next(plugin for plugin, driver in _DRIVERS.items() if driver[0] == chosen)
        raise ConfigError(
            f"site configuration {place!r}: the default is {default}, and no plugin {plugin} is active"
        )
    return found, chosen if chosen in found else next(iter(found), None)


def _active(data: Mapping[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    entries = [entry for name in data["active"] for entry in data["environments"][name]]
    configurations = [(data["configurations"][entry], entry) for entry in entries]
    return [(values["plugin"], values, entry) for values, entry in configurations]


def _transport(plugin: str, values: Mapping[str, Any]) -> TransportConfig:
    driver = _DRIVERS[plugin][0]
    hosts, ports = words(values["host"]), words(values["port"])
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return TransportConfig(
        name=driver,
        driver=driver,
        hosts=tuple(f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)),
        vhost=values.get("vhost", "/"),
        username=values["username"],
        password=values["password"],
        prefix=values.get("prefix", ""),
    )


def _management(values: Mapping[str, Any]) -> ManagementConfig:
    user, password = values.get("username"), values.get("password")
    return ManagementConfig(
        str(values["base_url"]),
        None if user is None else str(user),
        None if password is None else str(password),
    )
