"""Renews forkservers and relays after the supervisor's code has been replaced, without stopping a worker.

One after the other: a new forkserver is started beside the old one, and used once it has loaded; one that
cannot load what the old one has is ended, and the old one stays. Then each relay is asked to end, and another
one takes its place before the next is asked. Workers go on all the while, with the code that they were forked
with.
"""

from __future__ import annotations

from typing import Any, Protocol

from zocalo_daemon.config.schema import DaemonConfig, RuntimeConfig
from zocalo_daemon.control.reload import PATIENCE, Reload
from zocalo_daemon.supervision import forkserver
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.helpers import Helpers, used_runtimes
from zocalo_daemon.supervision.logs import EventBook
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.relay import Relay

AFTERWARDS = 0.05  # seconds: first, those are answered who have waited for the new code


class Host(Protocol):
    """What a renewal needs of the daemon."""

    config: DaemonConfig
    site: dict[str, Any] | None
    state: str
    fleet: Fleet
    helpers: Helpers
    relays: list[Relay]
    reload: Reload
    events: EventBook
    loop: Loop

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""


class Renewal:
    """At most one at a time; `active` while there is one."""

    def __init__(self, host: Host) -> None:
        self.active = False
        self._host = host
        self._runtimes: list[str] = []  # still to be done, the present one first
        self._relays: list[Relay] = []  # likewise, after those
        self._candidate: Forkserver | None = None
        self._of: DaemonConfig | None = None  # the configuration that the candidate was started with

    def begin(self) -> None:
        """Renew every forkserver that is in use, and the relays."""
        self.active = True
        self._relays = list(self._host.relays)
        self._runtimes = list(used_runtimes(self._host.config))
        self._host.loop.after(AFTERWARDS, self._next)

    def forkserver_changed(self, server: Forkserver) -> None:
        """A forkserver has loaded or ended; if it is ours, this step may be over."""
        if server is self._candidate and server.state != "starting":
            self._judge(server)

    def relay_ready(self, relay: Relay) -> None:
        """A relay serves; if it is the new one, the next is asked to end, or all is done."""
        if self.active and not self._runtimes and self._relays[0] is relay:
            self._tell("renewed", self._relays.pop(0).name, f"pid {relay.pid}")
            self._next()

    def _next(self) -> None:
        self._candidate = None
        host = self._host
        if host.state != "running":
            self.active = False
            return
        while self._runtimes:
            runtime = used_runtimes(host.config).get(self._runtimes[0])
            if runtime is not None:
                try:
                    self._start(runtime)
                    return
                except OSError as e:
                    self._kept(runtime.name, f"cannot run {runtime.interpreter}: {e.strerror}")
            self._runtimes.pop(0)
        self.active = bool(self._relays)
        if self._relays:
            host.helpers.renew_relay(self._relays[0])

    def _start(self, runtime: RuntimeConfig) -> None:
        host = self._host
        server = host.helpers.start(runtime, host.config, host.site)
        self._candidate, self._of = server, host.config
        host.loop.after(PATIENCE, lambda: self._too_late(server))

    def _judge(self, server: Forkserver) -> None:
        host = self._host
        if host.config is not self._of and server.state == "ready":
            forkserver.terminate(server)  # a reload came in between: once more, with what counts now
            self._next()
            return
        old = host.fleet.forkservers.get(server.runtime)
        problem = _worse(server, old)
        if problem:
            forkserver.terminate(server)
            self._kept(server.runtime, problem)
        else:
            host.reload.note_changed_code(server)
            host.fleet.use(server)
            self._tell("renewed", f"forkserver {server.runtime}", f"pid {server.pid}")
        self._runtimes.pop(0)
        self._next()

    def _too_late(self, server: Forkserver) -> None:
        if server is self._candidate:
            server.fail(f"its services were not imported within {PATIENCE:g} s")
            self._judge(server)

    def _kept(self, runtime: str, why: str) -> None:
        self._host.say(30, f"forkserver {runtime} was not renewed: {why}")
        self._host.events.add("kept", f"forkserver {runtime}", f"the old one stays: {why}", {})

    def _tell(self, event: str, name: str, text: str) -> None:
        self._host.say(20, f"{event} {name}: {text}")
        self._host.events.add(event, name, text, {})


def _worse(new: Forkserver, old: Forkserver | None) -> str | None:
    """Return what the new forkserver cannot load although the old one has, or None."""
    if old is None or old.state == "failed":
        return None
    known = [name for name in new.classes or old.classes if not old.class_error(name)]
    return next((error for name in known if (error := new.class_error(name))), None)
