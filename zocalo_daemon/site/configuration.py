"""The site configuration as services know it: environment["config"].

It stands for zocalo.configuration.Configuration. It is made from the plain data of `site.load`, which the
supervisor has read, so that a worker needs neither the files nor PyYAML.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site import plugins
from zocalo_daemon.site.secrets import Values, struck

_log = logging.getLogger("zocalo.configuration")


class UndefinedEnvironment(ConfigError, ValueError):
    """There is no such environment; a ValueError, as with zocalo."""


class Configuration:
    """Environments, plugin configurations, and what the plugins of the active environments returned.

    Each plugin is an attribute: `config.storage` is a dictionary once a storage configuration is active.
    Names that are known but not configured are None, others raise AttributeError.
    """

    __slots__ = (
        "_active",
        "_chosen",
        "_configurations",
        "_environments",
        "_places",
        "_results",
        "environment_cmd_args",
    )

    def __init__(
        self,
        environments: Mapping[str, list[str]] | None = None,
        configurations: Mapping[str, dict[str, Any] | str] | None = None,
        chosen: Iterable[str] = (),
        places: Mapping[str, str] | None = None,
    ) -> None:
        self._environments = dict(environments or {})
        self._configurations = dict(configurations or {})
        self._chosen = tuple(chosen)
        self._places = places or {}
        self._active: list[str] = []
        self._results: dict[str, Any] = {}
        self.environment_cmd_args: tuple[str, ...] = ("-e", "--environment")

    @classmethod
    def from_plain(cls, data: Mapping[str, Any] | None) -> Configuration:
        """Return the configuration of `site.load`; of None, an empty one."""
        data = data or {}
        active, places = data.get("active") or (), data.get("places")
        return cls(data.get("environments"), data.get("configurations"), active, places)

    @property
    def environments(self) -> frozenset[str]:
        """The names of all environments."""
        return frozenset(self._environments)

    @property
    def active_environments(self) -> tuple[str, ...]:
        """The names of those that are active, in the order of their activation."""
        return tuple(self._active)

    def activate(self, envs: Iterable[str] | None = None, *, default: bool = True) -> tuple[str, ...]:
        """Activate environments in order, by default those that the daemon chose; return their names.

        Args:
            default: whether to fall back to those if `envs` names none.

        Raises:
            ConfigError: an environment is not defined, or a plugin cannot use its configuration.
        """
        names = tuple(envs or ()) or (self._chosen if default else ())
        for name in names:
            self.activate_environment(name)
        return names

    def activate_environment(self, name: str) -> None:
        """Activate the plugin configurations of one environment.

        Raises:
            UndefinedEnvironment: there is none of that name.
            ConfigError: a plugin cannot use its configuration.
        """
        if name not in self._environments:
            raise UndefinedEnvironment(f"site configuration: environment {name!r} is not defined")
        for entry in self._environments[name]:
            self._activate_plugin(entry)
        self._active.append(name)

    def add_command_line_options(self, parser: Any) -> None:
        """Add the option for environments to a parser of argparse or optparse, as zocalo does."""
        known = sorted(self._environments)
        kind: dict[str, Any] = {} if hasattr(parser, "add_argument") else {"type": "choice"}
        add = parser.add_option if kind else parser.add_argument
        add(
            *self.environment_cmd_args,
            dest="environment",
            metavar="ENV",
            action="append",
            default=[],
            choices=known,
            help=f"Enable site-specific settings. Choices are: {', '.join(known)}",
            **kind,
        )

    def _activate_plugin(self, entry: str) -> None:
        from zocalo_daemon.site import logs  # noqa: PLC0415  see plugins.activate_logging

        configuration = self._resolved(entry)
        name = configuration["plugin"]
        where = f"site configuration {entry!r} (plugin {name})"
        if entry in self._places:
            where = f"{self._places[entry]}: {where}"
        try:
            plugin = plugins.find(name)
        except plugins.Unavailable as e:
            _log.warning("%s: %s", where, e.message)
            return
        try:
            plugins.check(plugin.schema, configuration)
            with logs.moved_from_root():
                own = Values(copy.deepcopy(configuration))
                self._results[name] = plugins.call(plugin.activate, own, self)
        except Exception as e:  # a plugin of the site may raise anything
            said = e.message if isinstance(e, ConfigError) else f"{type(e).__name__}: {e}"
            text = struck(said, configuration)
            told = ConfigError(f"{where}: {text}")
            raise told from (e if text == said else None)  # nor may a traceback show a secret

    def _resolved(self, entry: str) -> dict[str, Any]:
        """Return a plugin configuration; one of an environment that was not chosen may still be a file."""
        configuration = self._configurations[entry]
        if isinstance(configuration, str):
            configuration = self._configurations[entry] = _read(entry, Path(configuration))
        return configuration

    def __getattr__(self, name: str) -> Any:
        if name == "_opentelemetry":  # CommonService asks for it; `tracing` does what it would do
            return None
        plugin = name.removeprefix("_")
        if plugin in self._results:
            return self._results[plugin]
        if plugin in plugins.KNOWN or (not name.startswith("__") and plugin in plugins.registered()):
            return None
        raise AttributeError(f"the site configuration has no attribute {name!r}")

    def __repr__(self) -> str:
        active = f", active: {', '.join(self._active)}" if self._active else ""
        return (
            f"<Configuration: {len(self._environments)} environments,"
            f" {len(self._configurations)} plugin configurations{active}>"
        )


def _read(entry: str, path: Path) -> dict[str, Any]:
    """Read a plugin configuration from its file.

    PyYAML is imported here and nowhere above: an interpreter of the site may lack it, and only needs it for
    an environment that the daemon was not told about.
    """
    try:
        import yaml  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            f"site configuration {entry!r}: this interpreter needs PyYAML to read {path}"
        ) from None
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as e:
        raise ConfigError(f"site configuration {entry!r}: cannot read {path}: {e.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        # Its text would quote the line, which may hold a secret.
        mark = getattr(e, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: site configuration {entry!r}: this is not valid YAML") from None
    if not isinstance(data, dict) or not isinstance(data.get("plugin"), str):
        raise ConfigError(f"site configuration {entry!r}: {path} does not say which plugin it is for")
    return data
