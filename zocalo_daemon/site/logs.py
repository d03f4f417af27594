"""The `logging` plugin: levels of loggers, and handlers, filters and formatters for what a service logs.

CommonService discards every handler of its process when it starts, and hands its records on. With zocalo
they arrive in the process of the frontend, and the site's handlers act there. Here they act in the worker,
on records as they leave it (`handle`): their loggers stand below one of their own, BASE, as if that were the
root of another process, so that neither their filters nor `propagate` keep a record from the daemon's log.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from zocalo_daemon.errors import ConfigError

BASE = "zocalod.site"

_log = logging.getLogger("zocalo.configuration")
_PARTS = ("handlers", "filters", "formatters")


class Logging:
    """The `logging` plugin: applies the levels of loggers, and those of `verbose:` on demand.

    Args:
        earlier: an active one of the same environment, whose handlers stay unless this one replaces them.

    Raises:
        ConfigError: the configuration is no logging configuration.
    """

    def __init__(self, configuration: Mapping[str, Any], earlier: Logging | None = None) -> None:
        verbose = configuration.get("verbose", [])
        if not isinstance(verbose, list):
            raise ConfigError("verbose must be a list of logging configurations")
        _levels(configuration, "logging")
        self._steps = [(_levels(step, f"verbose level {n}"), step) for n, step in enumerate(verbose, 1)]
        self._verbosity = 0
        self._setups: list[Mapping[str, Any]] = list(earlier._setups) if earlier else []
        self._others: list[logging.Handler] | None = None  # what other plugins have hung; known once attached
        if _is_whole(configuration) and _can_be_had(configuration):
            self._setups.append(configuration)
        _apply(_levels(configuration, "logging"))

    @property
    def verbosity(self) -> int:
        """How many of the `verbose:` levels are in effect; it can only be raised."""
        return self._verbosity

    @verbosity.setter
    def verbosity(self, value: int) -> None:
        for levels, step in self._steps[self._verbosity : value]:
            _apply(levels)
            if step.get("incremental") is False and _is_whole(step):
                self._setups.append(step)
                if self._others is not None:
                    set_up(step, self._others)
        self._verbosity = max(self._verbosity, min(value, len(self._steps)))

    def attach(self) -> None:
        """Make the handlers and filters, in the process that is to use them; what cannot be is one line."""
        self._others = list(_base().handlers) if self._setups else []
        for setup in self._setups:
            set_up(setup, self._others)

    def __repr__(self) -> str:
        return f"<Logging verbosity={self._verbosity}>"


class DowngradeFilter(logging.Filter):
    """Lowers records above `reduce_to` and below `only_below` to the level `reduce_to`."""

    def __init__(self, reduce_to: str = "WARNING", *, only_below: str = "CRITICAL") -> None:
        super().__init__()
        self._name, self._bound = reduce_to, only_below
        self._to, self._below = logging.getLevelName(reduce_to), logging.getLevelName(only_below)
        if not isinstance(self._to, int) or not isinstance(self._below, int) or self._below <= self._to:
            raise ValueError(f"reduce_to ({reduce_to}) must be a level below only_below ({only_below})")

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if self._to < record.levelno < self._below:
            record.levelno, record.levelname = self._to, self._name
        return True

    def __repr__(self) -> str:
        return f"<DowngradeFilter reduce_to={self._name} only_below={self._bound}>"


def in_use() -> bool:
    """Return whether there may be handlers of the site."""
    return BASE in logging.Logger.manager.loggerDict


def handle(record: logging.LogRecord) -> None:
    """Give a record that leaves the worker to the site's handlers."""
    # As the frontend of workflows does, whatever the level of the logger.
    logging.getLogger(BASE if record.name == "root" else f"{BASE}.{record.name}").handle(record)


def handlers() -> list[logging.Handler]:
    """Return all handlers of the site in this process."""
    return [handler for logger in _loggers() for handler in logger.handlers]


def detach() -> None:
    """Take all handlers of the site away."""
    for logger in _loggers():
        logger.handlers.clear()
        logger.filters.clear()


def add(handler: logging.Handler) -> None:
    """Hang a handler where `handle` finds it."""
    _base().addHandler(handler)


@contextmanager
def moved_from_root() -> Iterator[None]:
    """Hang the handlers that a plugin adds to the root logger where `handle` finds them."""
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            _base().addHandler(handler)


@contextmanager
def kept() -> Iterator[None]:
    """Keep what `moved_from_root` has hung while all handlers of the process are discarded."""
    handlers = list(_base().handlers) if in_use() else []
    yield
    for handler in handlers:
        _base().addHandler(handler)


def _base() -> logging.Logger:
    base = logging.getLogger(BASE)
    base.propagate = False  # a record on its way to the true root would come back for ever
    return base


def below_base(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what dictConfig is to make of a logging configuration: its loggers below BASE."""
    own = copy.deepcopy({key: configuration.get(key) or {} for key in (*_PARTS, "loggers", "root")})
    for entry in (*own["handlers"].values(), *own["filters"].values()):
        if isinstance(entry, dict) and isinstance(entry.get("()"), str):
            entry["()"] = _OURS.get(entry["()"], entry["()"])
    loggers = {f"{BASE}.{name}": entry for name, entry in own["loggers"].items()}
    if own["root"]:
        loggers[BASE] = {**own["root"], "propagate": False}
    parts = {part: own[part] for part in _PARTS}
    return {"version": 1, "disable_existing_loggers": False, **parts, "loggers": loggers}


# Where zocalo keeps them, which need not be installed; its own would make a service wait for the server.
_OURS = {
    "zocalo.configuration.plugin_logging.GraylogUDPHandler": "zocalo_daemon.site.graylog.udp_handler",
    "zocalo.configuration.plugin_logging.GraylogTCPHandler": "zocalo_daemon.site.graylog.tcp_handler",
    "zocalo.configuration.plugin_logging.DowngradeFilter": "zocalo_daemon.site.logs.DowngradeFilter",
}


def _is_whole(configuration: Mapping[str, Any]) -> bool:
    """Return whether it has more than levels."""
    return not configuration.get("incremental") and any(configuration.get(part) for part in _PARTS)


def _can_be_had(configuration: Mapping[str, Any]) -> bool:
    """Import what a configuration names, before the fork; if that fails, warn."""
    from logging.config import BaseConfigurator  # noqa: PLC0415  5 ms, and only needed here

    own = below_base(configuration)
    find = BaseConfigurator({}).resolve
    for part in _PARTS:
        for name, entry in own[part].items():
            wanted = isinstance(entry, dict) and (entry.get("()") or entry.get("class"))
            try:
                if isinstance(wanted, str):
                    find(wanted)
            except Exception as e:  # the import of foreign code
                why = f"{part[:-1]} {name!r}: {wanted} cannot be had ({e.__cause__ or e})"
                _log.warning("The site's logging configuration: %s; its handlers are left out", why)
                return False
    return True


def set_up(configuration: Mapping[str, Any], others: Iterable[logging.Handler] = ()) -> None:
    """Make the handlers of a logging configuration; what cannot be made is one line."""
    from logging.config import dictConfig  # noqa: PLC0415  as above

    try:
        dictConfig(below_base(configuration))
    except Exception as e:  # of any handler
        why = f"{e} ({e.__cause__})" if e.__cause__ else str(e)
        sys.stderr.write(f"The site's logging configuration: {why}; its handlers are left out\n")
    for handler in others:
        _base().addHandler(handler)
    _leave_out_consoles()


def _loggers() -> Iterator[logging.Logger]:
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and f"{name}.".startswith(f"{BASE}."):
            yield logger


def _leave_out_consoles() -> None:
    """Remove handlers that write to this process's output: its log has the record already."""
    outputs = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for logger in _loggers():
        for handler in list(logger.handlers):
            if type(handler) is logging.StreamHandler and handler.stream in outputs:
                logger.removeHandler(handler)


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
