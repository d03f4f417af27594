"""What the plugin configurations of a site do in a worker: the usual ones here, others by entry point.

Third-party plugins register under `zocalo.configuration.plugins`, as for zocalo itself: an object with a
function `activate` that takes any of `configuration` (its dictionary) and `config_object` (the whole).
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import workflows.transport

from zocalo_daemon.errors import ConfigError

GROUP = "zocalo.configuration.plugins"

Activate = Callable[..., Any]

_log = logging.getLogger("zocalo.configuration")


class LoggingLevels:
    """The `logging` plugin in a worker: applies the levels of loggers, and those of `verbose:` on demand.

    Levels only: CommonService discards every handler when it starts and hands its records on, so that
    handlers, formatters and filters of the site act where the records arrive, not in the worker.

    Raises:
        ConfigError: the configuration is no logging configuration.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        verbose = configuration.get("verbose", [])
        if not isinstance(verbose, list):
            raise ConfigError("verbose must be a list of logging configurations")
        steps = [_levels(step, f"verbose level {number}") for number, step in enumerate(verbose, 1)]
        self._steps = steps
        self._verbosity = 0
        _apply(_levels(configuration, "logging"))

    @property
    def verbosity(self) -> int:
        """How many of the `verbose:` levels are in effect; it can only be raised."""
        return self._verbosity

    @verbosity.setter
    def verbosity(self, value: int) -> None:
        for step in self._steps[self._verbosity : value]:
            _apply(step)
        self._verbosity = max(self._verbosity, min(value, len(self._steps)))

    def __repr__(self) -> str:
        return f"<LoggingLevels verbosity={self._verbosity}>"


def activate_storage(configuration: Mapping[str, Any], config_object: Any) -> dict[str, Any]:
    """Return the values of all storage configurations so far; later ones count."""
    return {**(config_object.storage or {}), **configuration}


def activate_opentelemetry(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return where CommonService sends its spans; the timeout is in seconds.

    Raises:
        ConfigError: a key is missing.
    """
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
    # Importing the transport costs each worker megabytes: one that uses it has imported it with its service.
    transport = getattr(sys.modules.get(f"workflows.transport.{module}"), name, None)
    if transport is not None:
        for key, option in names.items():
            transport.defaults[flag + option] = _required(configuration, key)


def _plain(configuration: dict[str, Any]) -> dict[str, Any]:
    return configuration


def _rabbitmq_api(configuration: dict[str, Any]) -> dict[str, Any]:
    return {"vhost": "/", **configuration}


def _for_the_supervisor() -> None:
    """Do nothing: log records leave the worker by its channel, the supervisor hands them on."""


def _required(configuration: Mapping[str, Any], key: str) -> Any:
    if key not in configuration:
        raise ConfigError(f"key {key} is missing")
    return configuration[key]


def find(name: str) -> Activate | None:
    """Return the function that activates plugin `name`; None, and a warning, if there is none to be had."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    point = registered().get(name)
    if point is None:
        _log.warning("Configuration plugin %r is not installed: what it configures is left out", name)
        return None
    try:
        activate: Activate = point.load().activate
    except Exception as e:  # the import of foreign code: most often a module that it needs is missing
        _log.warning("Configuration plugin %r cannot be loaded and is left out: %s", name, e)
        return None
    return activate


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


def _levels(configuration: Any, what: str) -> list[tuple[str | None, int | str]]:
    """Return (logger, level) for each level that a logging configuration sets; None is the root logger."""
    if not isinstance(configuration, Mapping):
        raise ConfigError(f"{what} must be a map")
    loggers = configuration.get("loggers") or {}
    root = configuration.get("root") or {}
    if not isinstance(loggers, Mapping) or not all(isinstance(v, Mapping) for v in (root, *loggers.values())):
        raise ConfigError(f"{what}: loggers and root must be maps")
    named = [(name, entry["level"]) for name, entry in loggers.items() if "level" in entry]
    levels = [*named, *((None, root["level"]) for _ in range("level" in root))]
    for name, level in levels:
        if not isinstance(level, int) and not isinstance(logging.getLevelName(level), int):
            raise ConfigError(f"{what}: logger {name or 'root'} has the unknown level {level!r}")
    return levels


def _apply(levels: list[tuple[str | None, int | str]]) -> None:
    for name, level in levels:
        logging.getLogger(name).setLevel(level)


_BUILT_IN: dict[str, Activate] = {
    "graylog": _for_the_supervisor,
    "iris": _plain,
    "jmx": _plain,
    "logging": LoggingLevels,
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
