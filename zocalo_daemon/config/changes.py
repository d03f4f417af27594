"""What can be different between two configurations, and what each difference asks for."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from zocalo_daemon.values import Value

from .schema import RuntimeConfig, ServiceConfig, TransportConfig

Named = TypeVar("Named", ServiceConfig, RuntimeConfig, TransportConfig)


class Effect(enum.IntEnum):
    """What a changed key asks for; the greatest of several counts."""

    NOW = 1  # the supervisor decides by the new value from now on
    RESIZE = 2  # workers are started or drained
    RECONNECT = 3  # the relay connects anew, workers stay
    RESTART = 4  # rolling restart of the services concerned
    DAEMON = 5  # the daemon has to be restarted; until then the old value counts


SERVICE_EFFECTS = {"instances": Effect.RESIZE} | dict.fromkeys(
    (
        *("after", "restart", "start_timeout", "stop_timeout", "hang_timeout"),
        *("max_messages", "max_age", "max_rss", "max_crashes", "tag"),
    ),
    Effect.NOW,
)  # every other key: RESTART
TRANSPORT_EFFECTS = dict.fromkeys(("driver", "vhost", "prefix"), Effect.RESTART)  # others: RECONNECT
SETTING_EFFECTS = {
    "state_dir": Effect.DAEMON,
    "control.socket": Effect.DAEMON,
    "control.roles": Effect.NOW,
    "relay.clients": Effect.RECONNECT,
    "status_broadcast": Effect.NOW,
    "relay_processes": Effect.DAEMON,
    "trail": Effect.NOW,
    "metrics.listen": Effect.NOW,
    "log.format": Effect.NOW,
    "log.file": Effect.NOW,
    "site": Effect.RESTART,
    "site_environment": Effect.RESTART,
    "default_transport": Effect.NOW,  # services that use another transport by it are listed themselves
}


class Change(NamedTuple, Generic[Named]):
    """One service, runtime or transport that is new (`old` None), gone (`new` None) or different.

    Args:
        keys: what changed in it, dotted, as it stands in the file.
        causes: what changed elsewhere and concerns it: "default_transport", "runtimes.dials.env".
    """

    name: str
    old: Named | None
    new: Named | None
    effect: Effect
    keys: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


class Setting(NamedTuple):
    """One value of the daemon itself that is different."""

    key: str
    old: Any
    new: Any
    effect: Effect


class Diff(Value):
    """The difference of two configurations; false if there is none.

    Args:
        files: the new list of files if it differs, which alone changes nothing.
    """

    settings: tuple[Setting, ...] = ()
    runtimes: tuple[Change[RuntimeConfig], ...] = ()
    transports: tuple[Change[TransportConfig], ...] = ()
    services: tuple[Change[ServiceConfig], ...] = ()
    files: tuple[Path, ...] | None = None

    def __bool__(self) -> bool:
        """Tell whether anything is to be done or said."""
        return bool(self.settings or self.runtimes or self.transports or self.services)

    @property
    def added(self) -> tuple[ServiceConfig, ...]:
        """Services to be started."""
        return tuple(c.new for c in self.services if c.new and not c.old)

    @property
    def removed(self) -> tuple[ServiceConfig, ...]:
        """Services to be drained and forgotten."""
        return tuple(c.old for c in self.services if c.old and not c.new)

    @property
    def restarted(self) -> tuple[ServiceConfig, ...]:
        """Services that need a rolling restart; their number may have changed too."""
        return self._different(Effect.RESTART)

    @property
    def resized(self) -> tuple[ServiceConfig, ...]:
        """Services whose workers stay and of which there are more or fewer; policy may have changed too."""
        return self._different(Effect.RESIZE)

    @property
    def retuned(self) -> tuple[ServiceConfig, ...]:
        """Services of which only the policy changed."""
        return self._different(Effect.NOW)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Keys whose new value waits for a restart of the daemon."""
        return tuple(s.key for s in self.settings if s.effect is Effect.DAEMON)

    def _different(self, effect: Effect) -> tuple[ServiceConfig, ...]:
        return tuple(c.new for c in self.services if c.old and c.new and c.effect is effect)
