"""What the plugin configurations of a site do in a worker: the usual ones here, others by entry point.

Third-party plugins register under `zocalo.configuration.plugins`, as for zocalo itself: an object with a
function `activate` that takes any of `configuration` (its dictionary) and `config_object` (the whole), and
perhaps a `Schema` of marshmallow, which nothing else here needs.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

import workflows.transport

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site.defaults import set_defaults
from zocalo_daemon.site.secrets import Values

GROUP = "zocalo.configuration.plugins"

Activate = Callable[..., Any]


class Unavailable(ConfigError):
    """There is no such plugin to be had; what it configures is left out."""


class Plugin(NamedTuple):
    """What activates a plugin, and the schema of its configuration, if it has one."""

    activate: Activate
    schema: Callable[..., Any] | None = None


def activate_logging(configuration: Mapping[str, Any], config_object: Any) -> Any:
    """Apply levels; what has handlers is made in the worker."""
    from zocalo_daemon.site import logs  # noqa: PLC0415  40 KiB for each worker, also where none is configured

    return logs.Logging(configuration, config_object.logging)


def activate_graylog(configuration: Mapping[str, Any]) -> logging.Handler:
    """Send every record of the services to a Graylog server; return the handler, for filters."""
    from zocalo_daemon.site.graylog import GraylogHandler  # noqa: PLC0415  as above

    handler = GraylogHandler(*(_required(configuration, key) for key in ("protocol", "host", "port")))
    logging.getLogger().addHandler(handler)
    return handler


def activate_storage(configuration: Mapping[str, Any], config_object: Any) -> dict[str, Any]:
    """Return the values of all storage configurations so far; later ones count."""
    return Values({**(config_object.storage or {}), **configuration})


def activate_opentelemetry(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return where workers send their spans; the timeout is in seconds.

    Raises:
        ConfigError: a key is missing.
    """
    endpoint = configuration.get("endpoint")
    if not endpoint:
        endpoint = f"https://{_required(configuration, 'host')}:{_required(configuration, 'port')}/v1/traces"
    return {"endpoint": endpoint, "timeout": configuration.get("timeout", 10)}


def activate_default_transport(configuration: Mapping[str, Any]) -> None:
    """Tell workflows which transport a service means that opens another one by itself."""
    workflows.transport.default_transport = _required(configuration, "default")


def activate_pika(configuration: Mapping[str, Any]) -> None:
    """Set what a service gets that opens a PikaTransport of its own."""
    names = {"host": "host", "port": "port", "username": "user", "password": "pass", "vhost": "vhost"}
    _set_defaults("pika_transport", "PikaTransport", "--rabbit-", names, configuration)


def activate_stomp(configuration: Mapping[str, Any]) -> None:
    """Set what a service gets that opens a StompTransport of its own."""
    names = {"host": "host", "port": "port", "username": "user", "password": "pass", "prefix": "prfx"}
    _set_defaults("stomp_transport", "StompTransport", "--stomp-", names, configuration)


def _set_defaults(
    module: str, name: str, flag: str, names: Mapping[str, str], configuration: Mapping[str, Any]
) -> None:
    values = {flag + option: _required(configuration, key) for key, option in names.items()}
    set_defaults(f"workflows.transport.{module}", name, values)


def _plain(configuration: dict[str, Any]) -> dict[str, Any]:
    return configuration


def _rabbitmq_api(configuration: dict[str, Any]) -> dict[str, Any]:
    return Values({"vhost": "/", **configuration})


def _required(configuration: Mapping[str, Any], key: str) -> Any:
    if key not in configuration:
        raise ConfigError(f"key {key} is missing")
    return configuration[key]


def find(name: str) -> Plugin:
    """Return plugin `name`.

    Raises:
        Unavailable: it is not installed, or cannot be imported.
    """
    if name == "opentelemetry":
        try:
            from zocalo_daemon.site import tracing  # noqa: PLC0415  as above

            tracing.load()
        except ImportError as e:  # of a package that workflows requires since 3.3
            raise Unavailable(f"it needs OpenTelemetry, and there are no traces: {e}") from None
    if name in _BUILT_IN:
        return Plugin(_BUILT_IN[name])
    point = registered().get(name)
    if point is None:
        raise Unavailable("it is not installed: what it configures is left out")
    try:
        loaded = point.load()
        return Plugin(loaded.activate, getattr(loaded, "Schema", None))
    except Exception as e:  # the import of foreign code: most often a module that it needs is missing
        raise Unavailable(f"it cannot be loaded and is left out: {type(e).__name__}: {e}") from None


def check(schema: Callable[..., Any] | None, configuration: Mapping[str, Any]) -> None:
    """Check a configuration by the schema of its plugin; as with zocalo, it may have more keys.

    Raises:
        ConfigError: it does not fit.
    """
    if schema is None:
        return
    errors = schema(unknown="exclude").validate(configuration)  # marshmallow.EXCLUDE
    if errors:
        raise ConfigError("; ".join(_lines(errors)))


def _lines(errors: Any, key: str = "") -> Iterator[str]:
    if isinstance(errors, Mapping):
        for name, inner in errors.items():
            yield from _lines(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(errors, list):
        for inner in errors:
            yield from _lines(inner, key)
    else:
        yield f"{key}: {errors}"


def call(activate: Activate, configuration: dict[str, Any], config_object: Any) -> Any:
    """Call a plugin with those of the two arguments that its signature asks for."""
    offered = {"configuration": configuration, "config_object": config_object}
    parameters = inspect.signature(activate).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        offered = {name: value for name, value in offered.items() if name in parameters}
    return activate(**offered)


@functools.cache
def registered() -> dict[str, EntryPoint]:
    """Return the third-party plugins by name; looked up once, for it reads the metadata of every package."""
    return {point.name: point for point in entry_points(group=GROUP)}


_BUILT_IN: dict[str, Activate] = {
    "graylog": activate_graylog,
    "iris": _plain,
    "jmx": _plain,
    "logging": activate_logging,
    "opentelemetry": activate_opentelemetry,
    "pika": activate_pika,
    "rabbitmqapi": _rabbitmq_api,
    "slurm": _plain,
    "smtp": _plain,
    "stomp": activate_stomp,
    "storage": activate_storage,
    "transport": activate_default_transport,
}

# A service may ask for each of these: it is None unless configured.
KNOWN = frozenset(_BUILT_IN)
