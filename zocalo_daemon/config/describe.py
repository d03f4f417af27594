"""Differences of configurations in words, as `zocaloctl reload` prints them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .changes import Change, Diff, Effect, Setting
from .fields import RUNTIME, SERVICE, TRANSPORT
from .schema import ServiceConfig, TransportConfig
from .units import show_fraction, show_seconds, show_size
from .walk import Section, shown

_HIDDEN = ("env.", "environment.")  # values under these keys are not shown: sites keep secrets there
_SHOW: dict[str, Callable[[Any], str]] = {
    "max_rss": show_size,
    "spool": show_size,
    "trail": show_size,
    "limits.memory": show_size,
    "limits.cpu": show_fraction,
}


_TODO = {
    Effect.NOW: "",
    Effect.RESIZE: "",
    Effect.RECONNECT: "; reconnects",
    Effect.RESTART: "; rolling restart",
    Effect.DAEMON: "; needs a restart of the daemon",
}


def describe(difference: Diff) -> list[str]:
    """Return one line per difference; secrets and values of environments are not shown."""
    lines = [
        *map(_describe_setting, difference.settings),
        *(_describe("runtime", RUNTIME, c) for c in difference.runtimes),
        *(_describe("transport", TRANSPORT, c) for c in difference.transports),
        *(_describe("service", SERVICE, c) for c in difference.services),
    ]
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def show(key: str, value: Any) -> str:
    """Return a value as it would be written in the file; `key` is dotted, from its section on."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if key in _SHOW or isinstance(value, float):
        return _SHOW.get(key, show_seconds)(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {show(name, item)}' for name, item in value.items())}}}"
    return str(value)


def value_at(section: Section, value: Any, key: str) -> Any:
    """Return the value at a dotted key of a section's value, or None if there is none."""
    name, _, rest = key.partition(".")
    field = section.fields[name]
    found = getattr(value, field.into or name)
    if rest and isinstance(field.convert, Section):
        return None if found is None else value_at(field.convert, found, rest)
    return found.get(rest) if rest else found


def _describe_setting(setting: Setting) -> str:
    old, new = show(setting.key, setting.old), show(setting.key, setting.new)
    return f"{setting.key}: {old} -> {new}{_TODO[setting.effect]}"


def _describe(kind: str, section: Section, change: Change[Any]) -> str:
    if change.old is None:
        return f"{kind} {change.name}: added{_new(change.new)}"
    if change.new is None:
        return f"{kind} {change.name}: removed"
    parts = [_describe_key(section, change, key) for key in change.keys]
    parts += [f"{cause} changed" for cause in change.causes]
    return f"{kind} {change.name}: {', '.join(parts)}{_TODO[change.effect]}"


def _new(value: Any) -> str:
    if isinstance(value, ServiceConfig):
        return f", {value.instances} x {value.service_class}"
    return f", {value.driver}" if isinstance(value, TransportConfig) else ""


def _describe_key(section: Section, change: Change[Any], key: str) -> str:
    whole_section = key in section.fields and isinstance(section.fields[key].convert, Section)
    if key.endswith("password") or key.startswith(_HIDDEN) or whole_section:
        return f"{shown(key)} changed"
    old, new = (show(key, value_at(section, value, key)) for value in (change.old, change.new))
    return f"{key} {old} -> {new}"
