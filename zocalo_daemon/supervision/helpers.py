"""The relay and the forkservers: started with what they need to know, and started again when they die."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zocalo_daemon import linux, notify, strays, trail
from zocalo_daemon.config.schema import DaemonConfig, RestartConfig, RuntimeConfig, ServiceConfig
from zocalo_daemon.supervision import forkserver, restart
from zocalo_daemon.supervision.actions import Spawn
from zocalo_daemon.supervision.events import Exit
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.placing import relay_of, relay_settings
from zocalo_daemon.supervision.premises import Premises
from zocalo_daemon.supervision.relay import Relay

# They come back for ever: without them nothing works, and nothing else would start them.
POLICY = RestartConfig(backoff=0.1, max_backoff=10.0, limit=sys.maxsize, window=60.0)
DRAIN = 3.0  # seconds for workers to settle what they have in hand, before a relay that is renewed ends
RELAY = (sys.executable, "-m", "zocalo_daemon.relay.main")


class Helpers:
    """Starts and restarts the processes that workers need.

    Args:
        relays: the first one first.
        premises: the sockets that they serve, which outlive them; what the processes are marked with.
        forkserver_argv: from an interpreter (None: this one) to the command line of a forkserver.
        after: calls a function after some seconds.
        say: logs a line at a level.
        announce: tells followers of events (event, process, text).
    """

    CARRIED = ("_deaths",)

    def __init__(
        self,
        relays: Sequence[Relay],
        fleet: Fleet,
        *,
        premises: Premises,
        forkserver_argv: Callable[[Path | None], list[str]],
        after: Callable[[float, Callable[[], None]], None],
        say: Callable[[int, str], None],
        announce: Callable[[str, str, str], None],
    ) -> None:
        self._relays = relays
        self._fleet = fleet
        self._premises = premises
        self._forkserver_argv = forkserver_argv
        self._after = after
        self._say = say
        self._announce = announce
        self._deaths: dict[str, deque[float]] = {}
        self._stopping = False
        self._renewing: Relay | None = None

    # -- Relays

    def start_relays(self, config: Callable[[], DaemonConfig]) -> None:
        """Start those that do not run."""
        for relay in self._relays:
            if not relay.pid:
                self.start_relay(relay, config)

    def start_relay(self, relay: Relay, config: Callable[[], DaemonConfig]) -> None:
        """Start a relay with the transports of the configuration, as it is by then."""
        if self._stopping:
            return
        try:
            settings = relay_settings(config(), self._premises.life.secret, relay.index)
            env = strays.marked(notify.without(os.environ), self._premises.life.marker)
            relay.start(RELAY, env, settings, self._premises.relay_at(relay.index)[1].fileno())
        except OSError as e:
            self._say(40, f"cannot start the {relay.name}: {linux.shortage(e.errno) or e.strerror}")
            self._again(relay.name, lambda: self.start_relay(relay, config))

    def relay_ended(self, relay: Relay, exit_: Exit, config: Callable[[], DaemonConfig]) -> None:
        """Start another one."""
        if self._stopping:
            return
        self._say(20 if exit_.clean else 40, f"{relay.name} ended with {exit_}")
        if self._renewing is relay and exit_.clean:  # as it was asked to, so that it is no death
            self.start_relay(relay, config)
        else:
            self._again(relay.name, lambda: self.start_relay(relay, config))

    def renew_relay(self, relay: Relay) -> None:
        """Replace a relay, once what is in hand is settled; workers reconnect by themselves."""
        self._renewing = relay
        relay.tell("exit", {"drain": DRAIN})

    def relay_ready(self, relay: Relay) -> None:
        """A relay serves."""
        if self._renewing is relay:
            self._renewing = None

    # -- Forkservers

    def start(self, runtime: RuntimeConfig, config: DaemonConfig, site: dict[str, Any] | None) -> Forkserver:
        """Start a forkserver for a runtime of a configuration; it is not used before `Fleet.use`.

        Raises:
            OSError: its interpreter cannot be run.
        """
        premises = self._premises
        settings = forkserver_settings(runtime, config, site, premises.umask, premises.life.marker)
        settings["groups"] = premises.groups.bases
        argv = self._forkserver_argv(runtime.interpreter)
        env, board = self._environment(runtime, config), self._fleet.board.fileno()
        server = forkserver.start(runtime.name, argv, env, settings, board)
        self._fleet.add(server)
        return server

    def start_and_use(
        self, runtime: RuntimeConfig, config: DaemonConfig, site: dict[str, Any] | None
    ) -> None:
        """Start a forkserver and fork its runtime's workers from it."""
        if self._stopping:
            return
        try:
            server = self.start(runtime, config, site)
        except OSError as e:
            if short := linux.shortage(e.errno):
                self._say(40, f"cannot start forkserver {runtime.name}: {short}")
                name = f"forkserver {runtime.name}"
                self._again(name, lambda: self.start_and_use(runtime, config, site))
                return
            said = f"cannot run {runtime.interpreter or sys.executable}: {e.strerror}"
            server = forkserver.unstartable(runtime.name, said)
        self._fleet.use(server)

    def forkserver_ended(self, server: Forkserver, config: DaemonConfig, site: dict[str, Any] | None) -> None:
        """Start another one, if it was in use and there is a point in it."""
        runtime = config.runtimes.get(server.runtime)
        if self._stopping or runtime is None or self._fleet.forkservers.get(server.runtime) is not server:
            return
        self._say(40, server.error)
        if not server.unusable:
            name = f"forkserver {server.runtime}"
            self._again(name, lambda: self.start_and_use(runtime, config, site))

    def worker_settings(self, wanted: Spawn, config: DaemonConfig) -> dict[str, Any]:
        """Return what a worker is told: the map `worker` of a fork request (protocol/channel.py)."""
        service = wanted.service
        index = relay_of(wanted.instance, service, config)
        if service.user or service.group:
            self._premises.let_in(index)
        beside = {"first_relay": str(self._premises.relay_path)} if index else {}
        return {
            "service": service.name,
            "relay": str(self._premises.relay_at(index)[0]),
            **beside,
            "secret": self._premises.life.secret,
            "trail": {"directory": str(config.state_dir / "trail"), "part": trail.part_of(config.trail)},
            "transport": service.transport or "",
            "environment": service.environment,
            "verbose": service.verbose,
            "nice": service.nice,
            **_identity(service),
            "title": f"zocalod: {wanted.instance}",
            "max_messages": wanted.max_messages,
            "max_rss": service.max_rss,
            "confined": self._premises.groups.of_worker(wanted.serial, wanted.instance, service),
        }

    # -- Stopping

    def stop(self) -> None:
        """Let all of them finish, and start none again."""
        self._stopping = True
        for relay in self._relays:
            relay.tell("exit", {})
        for server in self._fleet.alive():
            self._fleet.retire(server)

    def kill(self) -> None:
        """End all of them at once."""
        for relay in self._relays:
            relay.kill()
        for server in self._fleet.alive():
            forkserver.terminate(server)

    def ended(self) -> bool:
        """Return whether none is left."""
        return not any(relay.pid for relay in self._relays) and not self._fleet.alive()

    # -- What there is to say of them

    def names(self) -> dict[int, str]:
        """Return the pids of all that run, with what they are called."""
        servers = {server.pid: f"forkserver {server.runtime}" for server in self._fleet.alive()}
        return {relay.pid: relay.name for relay in self._relays if relay.pid} | servers

    def describe(self, trouble: Callable[[int], str | None]) -> dict[str, Any]:
        """Return `relay` (the first), `relays` and `forkservers` of the status document.

        Args:
            trouble: returns why a process does not run, None if it does.
        """
        relays = [
            {
                "name": relay.name,
                "pid": relay.pid or None,
                "state": relay.state,
                "reason": trouble(relay.pid) or relay.trouble or None,
            }
            for relay in self._relays
        ]
        return {
            "relay": {key: value for key, value in relays[0].items() if key != "name"},
            "relays": relays,
            "forkservers": [
                {
                    "runtime": name,
                    "pid": server.pid,
                    "state": server.state,
                    "python": server.python,
                    "reason": trouble(server.pid) or server.error or None,
                }
                for name, server in self._fleet.forkservers.items()
            ],
        }

    def _again(self, name: str, start: Callable[[], None]) -> None:
        now = time.monotonic()
        deaths = self._deaths.setdefault(name, deque(maxlen=100))
        deaths.append(now)
        chance = random.random()
        delay = restart.decide(POLICY, deaths, clean=False, was_ready=True, now=now, chance=chance).delay
        text = f"starting another {name}" + (f" in {delay:.1f} s" if delay else "")
        self._announce("exited", name, text)
        self._say(20, text)
        if delay:
            self._after(delay, start)
        else:
            start()

    def _environment(self, runtime: RuntimeConfig, config: DaemonConfig) -> dict[str, str]:
        """Return the environment of a runtime."""
        env = notify.without(os.environ)
        env["ZOCALO_SOCKET"] = str(config.control.socket)
        env["ZOCALO_RELAY_SOCKET"] = str(self._premises.relay_path)
        return strays.marked({**env, **runtime.env}, self._premises.life.marker)


def _identity(service: ServiceConfig) -> dict[str, Any]:
    """Return what `worker.identity` does, of what is configured."""
    directory = service.working_directory
    wanted = {
        "ionice": service.ionice,
        "umask": None if service.umask is None else int(service.umask, 8),
        "user": service.user,
        "group": service.group,
        "working_directory": str(directory) if directory else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def forkserver_settings(
    runtime: RuntimeConfig, config: DaemonConfig, site: dict[str, Any] | None, umask: int, life: str = ""
) -> dict[str, Any]:
    """Return what a forkserver is told; what is marked with `life` it ends when the supervisor is gone."""
    return {
        "parent": os.getpid(),
        "runtime": runtime.name,
        "title": "zocalod",
        "umask": umask,
        "life": life,
        "trail": str(config.state_dir / "trail"),
        "python_path": [str(path) for path in runtime.python_path],
        "preload": list(runtime.preload),
        "services": {
            service.name: service.service_class
            for service in config.services.values()
            if service.runtime == runtime.name
        },
        "site": site,
    }


def used_runtimes(config: DaemonConfig) -> dict[str, RuntimeConfig]:
    """Return the runtimes that the services of a configuration use."""
    used = {service.runtime for service in config.services.values()}
    return {name: runtime for name, runtime in config.runtimes.items() if name in used}
