"""Reload: read the configuration again and apply only the difference.

Nothing changes before everything is known to be good: the files are read and checked, and new forkservers,
started beside the old ones, have imported every service. That is also how changed code gets in: a service
whose fingerprint differs between the old forkserver and the new one is restarted, the others are left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.control.cluster import Cluster
from zocalo_daemon.control.operations import Operations
from zocalo_daemon.control.request import Request
from zocalo_daemon.control.web import Web
from zocalo_daemon.errors import ConfigError, Unavailable, ZocaloError
from zocalo_daemon.supervision import directing, forkserver
from zocalo_daemon.supervision.actions import Action
from zocalo_daemon.supervision.crash import Crashes
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.forwarding import Forwarding
from zocalo_daemon.supervision.guard import Guard
from zocalo_daemon.supervision.helpers import Helpers, used_runtimes
from zocalo_daemon.supervision.logs import LogBook
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.placing import transport_settings
from zocalo_daemon.supervision.premises import Premises
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster

PATIENCE = 120.0  # seconds for the new forkservers to import the services

Loaded = tuple[DaemonConfig, dict[str, Any] | None]


class Host(Protocol):
    """What a reload needs of the daemon."""

    config: DaemonConfig
    site: dict[str, Any] | None
    premises: Premises
    fleet: Fleet
    roster: Roster
    operations: Operations
    helpers: Helpers
    relays: list[Relay]
    guard: Guard
    crashes: Crashes
    web: Web
    cluster: Cluster
    log: LogBook
    forwarding: Forwarding
    loop: Loop

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""

    def perform(self, actions: list[Action]) -> None:
        """Carry out what the roster has decided."""


class Reload:
    """At most one reload at a time.

    `attempts` counts those that were asked for, whatever became of them; `refused` is why the last one
    changed nothing, "" if it went well.
    """

    CARRIED = ("_outdated", "refused")

    def __init__(self, host: Host, load: Callable[[], Loaded]) -> None:
        self.attempts, self.refused = 0, ""
        self._host = host
        self._load = load
        self._request: Request | None = None
        self._loaded: Loaded | None = None
        self._candidates: list[Forkserver] = []
        self._moving: Loaded | None = None  # whose transports the relay has been asked for
        self._unmoved: list[Relay] = []  # those to be renewed for what is different
        self._outdated: set[str] = set()  # services whose workers run older code than their forkserver has

    @property
    def active(self) -> bool:
        """Whether a reload is under way."""
        return self._loaded is not None

    def requested(self, request: Request) -> None:
        """Carry out the operation `reload`; it is answered when the reload is over."""
        self.begin(request)

    def begin(self, request: Request | None) -> None:
        """Read the configuration and start new forkservers.

        Raises:
            ZocaloError: the configuration is bad, or a reload is under way; without `request` it is logged.
        """
        self.attempts += 1
        try:
            if self._loaded:
                raise Unavailable("a reload is under way; wait for it to end")
            self._loaded = self._load()
            self._request = request
            self._start_candidates(*self._loaded)
        except ZocaloError as e:
            if not isinstance(e, Unavailable):
                self._give_up(e)
            if request:
                raise
            return
        candidates = list(self._candidates)
        self._host.loop.after(PATIENCE, lambda: self._too_late(candidates))
        self._judge()

    def forkserver_changed(self, server: Forkserver) -> None:
        """A forkserver has loaded or ended; if it is one of ours, this may decide the reload."""
        if server in self._candidates:
            self._judge()

    def cancel(self) -> None:
        """Give up a reload that is under way, because the daemon stops."""
        if self._loaded:
            self._fail(Unavailable("the daemon is stopping"))

    def _start_candidates(self, config: DaemonConfig, site: dict[str, Any] | None) -> None:
        for name, runtime in used_runtimes(config).items():
            try:
                self._candidates.append(self._host.helpers.start(runtime, config, site))
            except OSError as e:
                raise ConfigError(f"runtime {name}: cannot run {runtime.interpreter}: {e.strerror}") from None

    def _too_late(self, candidates: list[Forkserver]) -> None:
        if self._loaded and self._candidates == candidates:
            slow = ", ".join(server.runtime for server in candidates if server.state == "starting")
            self._fail(ConfigError(f"runtime {slow}: its services were not imported within {PATIENCE:g} s"))

    def _judge(self) -> None:
        if not self._loaded or any(server.state == "starting" for server in self._candidates):
            return
        config, site = self._loaded
        problems = [
            f"services.{service.name}: {error}"
            for service in config.services.values()
            for server in self._candidates
            if server.runtime == service.runtime and (error := server.class_error(service.name))
        ]
        if problems:
            self._fail(ConfigError("\n".join(problems), {"problems": problems}))
        elif self._moving is None:
            self._move_transports(config, site)

    def _move_transports(self, config: DaemonConfig, site: dict[str, Any] | None, index: int = 0) -> None:
        """Have one relay after the other move what is different, and apply the rest.

        If the first one cannot, nothing changes. Another one that cannot, or that is just starting, with what
        counts now, is renewed.
        """
        host = self._host
        if index == len(host.relays):
            self._apply(config, site)
            return
        relay, wanted = host.relays[index], transport_settings(config, index)
        if relay.state != "ready" or wanted == transport_settings(host.config, index):
            if relay.pid and wanted != transport_settings(host.config, index):
                self._unmoved.append(relay)
            self._move_transports(config, site, index + 1)
            return
        loaded = self._moving = self._loaded

        def answered(_value: Any, error: ZocaloError | None) -> None:
            if self._moving is not loaded:
                return
            self._moving = None
            if error and not index:
                self._fail(ConfigError(f"the relay refuses these transports: {error.message}"))
                return
            if error:
                host.say(40, f"{relay.name} refuses these transports, and is renewed: {error.message}")
                self._unmoved.append(relay)
            self._move_transports(config, site, index + 1)

        relay.request("transports", wanted, answered, again=False)

    def _fail(self, error: ZocaloError) -> None:
        request = self._request
        self._give_up(error)
        if request:
            request.error(error)

    def _give_up(self, error: ZocaloError) -> None:
        self._host.say(40, f"reload changed nothing: {error.message}")
        self.refused = (error.data.get("problems") or [error.message])[0].partition("\n")[0]
        for server in self._candidates:
            forkserver.terminate(server)
        self._clear()

    def _clear(self) -> None:
        self._candidates, self._loaded, self._request, self._moving = [], None, None, None
        self._unmoved = []

    def _apply(self, config: DaemonConfig, site: dict[str, Any] | None) -> None:
        # The tables of all keys and the parser of YAML come with it, and a daemon that takes over from old
        # code has no time for them.
        from zocalo_daemon.config import diff  # noqa: PLC0415
        from zocalo_daemon.site.load import differs  # noqa: PLC0415

        host, request, candidates = self._host, self._request, self._candidates
        old, anew = host.config, self._unmoved
        difference = diff.diff(old, config)
        fresh = self._changed_code(self._candidates) | (self._outdated & set(config.services))
        changed = {service.name for service in difference.restarted} | set(fresh)
        lines = diff.describe(difference) + [
            f"services.{name}: its code has changed" for name in sorted(fresh)
        ]
        if differs(site, host.site):
            lines.append("the site configuration has changed")
            changed = set(config.services)
        self._clear()
        self._outdated.clear()
        self.refused = ""
        host.config, host.site = diff.carried(old, config), site
        for name in set(host.fleet.forkservers) - {server.runtime for server in candidates}:
            host.fleet.retire(host.fleet.forkservers[name])
        for server in candidates:
            host.fleet.use(server)
        for relay in host.relays if old.relay != config.relay else anew:
            # The next one has the new settings; workers reconnect by themselves.
            relay.tell("exit", {})
        before = {slot.id for slot in host.roster.slots()}
        host.perform(host.roster.apply(config.services, sorted(changed), time.monotonic()))
        self._refresh(old)
        servers = {f"forkserver {name}" for name in host.fleet.forkservers}
        relays = {relay.name for relay in host.relays}
        host.log.keep_only({slot.id for slot in host.roster.slots()} | servers | relays | {"zocalod"})
        for line in lines or ["nothing has changed"]:
            host.say(20, f"reload: {line}")
        if request:
            waits = request.args.get("wait") is not False
            concerned = self._concerned(changed, before) if waits else []
            host.operations.watch(request, concerned, up=True, more={"changes": lines})

    def _refresh(self, old: DaemonConfig) -> None:
        host = self._host
        if bool(old.control.roles) != bool(host.config.control.roles):
            host.premises.open_to_others(bool(host.config.control.roles))
        host.guard.refresh()
        host.web.refresh()
        host.cluster.wake()
        host.crashes.trail.resize()
        host.forwarding.tell()
        if old.log != host.config.log:
            host.log.direct(directing.outlet(host.config.log))

    def note_changed_code(self, server: Forkserver) -> None:
        """A forkserver is replaced although its workers are not: the next reload restarts those."""
        changed = self._changed_code([server])
        self._outdated |= changed
        for name in sorted(changed):
            self._host.say(20, f"services.{name}: its code has changed; to use it: zocaloctl restart {name}")

    def _changed_code(self, servers: list[Forkserver]) -> set[str]:
        """Return the services whose code differs between the forkserver in use and the new one."""
        in_use = self._host.fleet.forkservers
        return {
            name
            for server in servers
            if (old := in_use.get(server.runtime))
            for name, known in server.classes.items()
            if name in old.classes and old.classes[name].get("fingerprint") != known.get("fingerprint")
        }

    def _concerned(self, changed: set[str], before: set[str]) -> list[str]:
        return [
            slot.id
            for slot in self._host.roster.slots()
            if slot.wanted and (slot.service.config.name in changed or slot.id not in before)
        ]
