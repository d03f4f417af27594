"""What has to happen when one configuration takes the place of another. Pure.

`diff` finds it, `describe` says it, `apply` proves that nothing was forgotten.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from zocalo_daemon.values import replace

from .changes import SERVICE_EFFECTS, SETTING_EFFECTS, TRANSPORT_EFFECTS, Change, Diff, Effect, Named, Setting
from .describe import describe
from .fields import RUNTIME, SERVICE, TRANSPORT
from .schema import DaemonConfig, RuntimeConfig, ServiceConfig, TransportConfig
from .walk import Section

__all__ = ["Diff", "Effect", "apply", "carried", "describe", "diff"]


def diff(old: DaemonConfig, new: DaemonConfig) -> Diff:
    """Return what is different in `new`."""
    settings = tuple(
        Setting(key, before, after, effect)
        for key, effect in SETTING_EFFECTS.items()
        if not same(before := _setting(old, key), after := _setting(new, key))
    )
    runtimes = tuple(_changes(RUNTIME, old.runtimes, new.runtimes, {}, Effect.RESTART))
    transports = tuple(
        _changes(TRANSPORT, old.transports, new.transports, TRANSPORT_EFFECTS, Effect.RECONNECT)
    )
    services = {
        c.name: c for c in _changes(SERVICE, old.services, new.services, SERVICE_EFFECTS, Effect.RESTART)
    }
    causes = _causes(settings, runtimes, transports)
    for name in old.services.keys() & new.services.keys():
        change = _service(name, old, new, services.get(name), causes)
        if change:
            services[name] = change
    ordered = tuple(services[name] for name in sorted(services))
    files = None if old.files == new.files else new.files
    return Diff(settings, runtimes, transports, ordered, files)


def apply(old: DaemonConfig, difference: Diff) -> DaemonConfig:
    """Return the configuration that differs from `old` in this way."""
    config = replace(
        old,
        runtimes=_applied(old.runtimes, difference.runtimes),
        transports=_applied(old.transports, difference.transports),
        services=_applied(old.services, difference.services),
        files=old.files if difference.files is None else difference.files,
    )
    for setting in difference.settings:
        section, _, key = setting.key.rpartition(".")
        if section:
            part: Any = getattr(config, section)
            config = replace(config, **{section: replace(part, **{key: setting.new})})
        else:
            config = replace(config, **{key: setting.new})
    return config


def carried(old: DaemonConfig, new: DaemonConfig) -> DaemonConfig:
    """Return `new` with those values of `old` that only a restart of the daemon can change."""
    control = replace(new.control, socket=old.control.socket)
    return replace(new, state_dir=old.state_dir, control=control, relay_processes=old.relay_processes)


def same(one: Any, other: Any) -> bool:
    """Compare values as YAML does, for which 1, 1.0 and true are three things."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _setting(config: DaemonConfig, key: str) -> Any:
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)


def _changes(
    section: Section,
    old: dict[str, Any],
    new: dict[str, Any],
    effects: dict[str, Effect],
    otherwise: Effect,
) -> Iterator[Change[Any]]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield Change(name, before, after, otherwise)
        elif keys := tuple(_keys(section, before, after)):
            effect = max(effects.get(key.partition(".")[0], otherwise) for key in keys)
            yield Change(name, before, after, effect, keys)


def _keys(section: Section, old: Any, new: Any) -> Iterator[str]:
    """Yield the dotted keys that differ between two values of a section."""
    for key, field in section.fields.items():
        before, after = getattr(old, field.into or key), getattr(new, field.into or key)
        if same(before, after):
            continue
        if isinstance(field.convert, Section) and before is not None and after is not None:
            yield from (f"{key}.{inner}" for inner in _keys(field.convert, before, after))
        elif isinstance(before, dict) and isinstance(after, dict):
            names = sorted(before.keys() | after.keys())
            yield from (
                f"{key}.{name}"
                for name in names
                if not (name in before and name in after and same(before[name], after[name]))
            )
        else:
            yield key


class _Causes(NamedTuple):
    """Keys outside of a service that ask for its restart, by what it uses."""

    everywhere: tuple[str, ...]
    runtimes: dict[str, tuple[str, ...]]
    transports: dict[str, tuple[str, ...]]


def _causes(
    settings: tuple[Setting, ...],
    runtimes: tuple[Change[RuntimeConfig], ...],
    transports: tuple[Change[TransportConfig], ...],
) -> _Causes:
    return _Causes(
        tuple(s.key for s in settings if s.effect is Effect.RESTART),
        {c.name: _dotted("runtimes", c) for c in runtimes},
        {c.name: _dotted("transports", c, TRANSPORT_EFFECTS) for c in transports},
    )


def _dotted(section: str, change: Change[Any], among: Container[str] | None = None) -> tuple[str, ...]:
    """Return the changed keys, counted from the top of the file, of those that concern workers."""
    top = f"{section}.{change.name}"
    if change.old is None or change.new is None:
        return (top,)
    return tuple(f"{top}.{key}" for key in change.keys if among is None or key in among)


def _service(
    name: str, old: DaemonConfig, new: DaemonConfig, own: Change[ServiceConfig] | None, causes: _Causes
) -> Change[ServiceConfig] | None:
    """Return the change of a service that both configurations have, with what concerns it elsewhere."""
    before, after = old.services[name], new.services[name]
    used = after.transport or new.default_transport
    found = list(causes.everywhere) + list(causes.runtimes.get(after.runtime, ()))
    moved = used != (before.transport or old.default_transport)
    if moved and before.transport == after.transport:
        found.append("default_transport")
    if not moved:
        found += causes.transports.get(used, ())
    keys = own.keys if own else ()
    if not keys and not found:
        return None
    # To name the transport that was the default changes nothing.
    effects = [
        Effect.NOW
        if key == "transport" and not moved
        else SERVICE_EFFECTS.get(key.partition(".")[0], Effect.RESTART)
        for key in keys
    ]
    effect = Effect.RESTART if found else max(effects)
    return Change(name, before, after, effect, keys, tuple(found))


def _applied(old: dict[str, Named], changes: tuple[Change[Named], ...]) -> dict[str, Named]:
    values = dict(old)
    for change in changes:
        if change.new is None:
            del values[change.name]
        else:
            values[change.name] = change.new
    return values
