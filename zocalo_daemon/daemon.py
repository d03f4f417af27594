"""The supervisor's one loop, and how the parts hang together.

Everything that can happen is a descriptor in one selector or a deadline; the loop sleeps until the first of
them. What the parts decide, they return or report; it is performed here, and nowhere else.
"""

from __future__ import annotations

import heapq
import itertools
import os
import platform
import random
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zocalo_daemon import __version__, linux
from zocalo_daemon.config.schema import DaemonConfig, RestartConfig, RuntimeConfig, ServiceConfig
from zocalo_daemon.control.operations import Operations, Parts
from zocalo_daemon.control.reload import Reload
from zocalo_daemon.control.server import ControlServer
from zocalo_daemon.protocol import control
from zocalo_daemon.supervision import forkserver, restart
from zocalo_daemon.supervision.actions import Action, Announce, Drain, Finish, Kill, Spawn
from zocalo_daemon.supervision.events import Event, Exit
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.logs import EventBook, LogBook
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.worker import launch

PACKAGE = Path(__file__).parent
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# Relay and forkservers come back for ever: without them nothing works, and nothing else would start them.
HELPERS = RestartConfig(backoff=0.1, max_backoff=10.0, limit=sys.maxsize, window=60.0)
GRACE = 10.0  # seconds for relay and forkservers to finish when the daemon stops


class Daemon:
    """zocalod once its configuration is read and its sockets are bound.

    Args:
        config, site: the configuration, and the site configuration as plain data.
        load: reads both again, for a reload.
        control_socket, relay_socket: bound and listening, the latter at `relay_path`.
        umask: that of the services.
    """

    def __init__(
        self,
        config: DaemonConfig,
        site: dict[str, Any] | None,
        *,
        load: Callable[[], tuple[DaemonConfig, dict[str, Any] | None]],
        control_socket: socket.socket,
        relay_socket: socket.socket,
        relay_path: Path,
        umask: int,
        logbook: LogBook,
    ) -> None:
        self.config, self.site = config, site
        self.state = "starting"
        self._started = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._listener = relay_socket
        self._relay_path = str(relay_path)
        self._umask = umask
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._helper_deaths: dict[str, deque[float]] = {}
        self._done = False
        self.log = logbook
        self.events = EventBook(time.time)
        self.figures = Figures(time.monotonic)
        self.roster = Roster(random.random)
        self.relay = Relay(
            self._selector,
            logbook,
            on_ready=self._settle_down,
            on_end=self._relay_ended,
            on_figures=lambda report: self.figures.relay_reports(report["workers"], report["transports"]),
        )
        self.fleet = Fleet(
            self._selector,
            logbook,
            report=self._report,
            on_end=self._worker_ended,
            on_change=self._forkserver_changed,
            others=lambda: {self.relay.pid},
        )
        self.reload = Reload(self, load)
        self.operations = Operations(
            Parts(
                roster=self.roster,
                figures=self.figures,
                logbook=logbook,
                eventbook=self.events,
                relay=self.relay,
                perform=self.perform,
                clock=time.monotonic,
                daemon=self._describe,
                transports=self._transports,
                pids=self._pids,
                reload=self.reload.requested,
                version=self._version,
            )
        )
        self._server = ControlServer(
            control_socket,
            self._selector,
            version=__version__,
            role_of=self._role_of,
            handler=self.operations.handle,
            log=lambda text: self.say(20, text),
        )

    # -- The loop

    def run(self) -> None:
        """Run until the daemon has stopped."""
        self._catch_signals()
        linux.become_subreaper()
        self._start_relay()
        for runtime in self.runtimes(self.config).values():
            self._start_forkserver(runtime)
        self.perform(self.roster.apply(self.config.services, (), time.monotonic()))
        while not self._done:
            for key, mask in self._selector.select(self._sleep()):
                if key.fd in self._selector.get_map():  # an earlier callback of this turn may have ended it
                    key.data(mask)
            self.perform(self.roster.tick(time.monotonic()))
            self._run_timers()
        self._server.close()

    def _sleep(self) -> float | None:
        deadlines = [self.roster.next_deadline(), self._timers[0][0] if self._timers else None]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(0.0, min(known) - time.monotonic()) if known else None

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Call `what` after so many seconds."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), what))

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""
        self.log.add("zocalod", level, text)

    # -- Performing what was decided

    def perform(self, actions: list[Action]) -> None:
        """Carry out what the roster has decided."""
        for action in actions:
            match action:
                case Spawn(serial, instance, service):
                    self.fleet.spawn(serial, instance, service, self._worker_settings(instance, service))
                case Drain(serial):
                    self.fleet.drain(serial)
                case Kill(serial):
                    self.fleet.kill(serial)
                case Announce(event, instance, text, data):
                    self.events.add(event, instance, text, data)
                    level = 40 if event == "failed" else 30 if data.get("code") or event == "kept" else 20
                    self.say(level, f"{instance} {event}{': ' if text else ''}{text}")
                case Finish():
                    self.operations.finished(action)
        if actions:
            self._settle_down()

    def _report(self, event: Event) -> None:
        self.perform(self.roster.handle(event, time.monotonic()))

    def _worker_settings(self, instance: str, service: ServiceConfig) -> dict[str, Any]:
        return {
            "service": service.name,
            "relay": self._relay_path,
            "transport": service.transport or "",
            "environment": service.environment,
            "verbose": service.verbose,
            "nice": service.nice,
            "title": f"zocalod: {instance}",
        }

    def _settle_down(self) -> None:
        """Notice that the start is over, or that the stop has come to an end."""
        if self.state == "starting" and self.relay.state == "ready":
            self.state = "running"
        if self.state == "stopping" and self.roster.idle():
            self.state = "stopped"
            self.relay.tell("exit", {})
            for server in self.fleet.alive():
                self.fleet.retire(server)
            self.after(GRACE, self._kill_helpers)
        if self.state == "stopped" and not self.relay.pid and not self.fleet.alive():
            self._done = True

    # -- Signals

    def _catch_signals(self) -> None:
        read, write = socket.socketpair()
        read.setblocking(False)
        write.setblocking(False)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        self._wakeup = (read, write)
        self._selector.register(read, selectors.EVENT_READ, self._signalled)

    def _signalled(self, _mask: int) -> None:
        for number in set(self._wakeup[0].recv(4096)):
            match number:
                case signal.SIGCHLD:
                    self.fleet.adopt()
                case signal.SIGHUP:
                    self.reload.begin(None)
                case signal.SIGTERM | signal.SIGINT:
                    self._stop(signal.Signals(number).name)

    def _stop(self, why: str) -> None:
        if self.state in ("stopping", "stopped"):
            self.say(30, f"{why} again: killing what is left")
            for serial in list(self.fleet.processes):
                self.fleet.kill(serial)
            self._kill_helpers()
            return
        self.say(20, f"{why}: stopping")
        self.state = "stopping"
        self.perform(self.roster.down([slot.id for slot in self.roster.slots()], time.monotonic()))
        self._settle_down()

    def _kill_helpers(self) -> None:
        if self.state == "stopped":
            self.relay.kill()
            for server in self.fleet.alive():
                forkserver.terminate(server)

    # -- Relay and forkservers

    def _start_relay(self) -> None:
        argv = [sys.executable, "-m", "zocalo_daemon.relay.main"]
        try:
            self.relay.start(argv, os.environ, self._relay_settings(), self._listener.fileno())
        except OSError as e:
            self.say(40, f"cannot start the relay: {e.strerror}")
            self._helper_died("relay", self._start_relay)

    def restart_relay(self) -> None:
        """Replace the relay, whose transports have changed; workers reconnect by themselves."""
        self.relay.tell("exit", {})

    def _relay_settings(self) -> dict[str, Any]:
        return {
            "parent": os.getpid(),
            "title": "zocalod",
            "state_dir": str(self.config.state_dir),
            "default_transport": self.config.default_transport,
            "transports": [_plain(asdict(transport)) for transport in self.config.transports.values()],
        }

    def _relay_ended(self, exit_: Exit) -> None:
        self.figures.relay_ended()
        if self.state == "stopped":
            self._settle_down()
            return
        self.say(20 if exit_.clean else 40, f"relay ended with {exit_}")
        self._helper_died("relay", self._start_relay)

    def _helper_died(self, name: str, again: Callable[[], None]) -> None:
        now = time.monotonic()
        deaths = self._helper_deaths.setdefault(name, deque(maxlen=100))
        deaths.append(now)
        verdict = restart.decide(
            HELPERS,
            deaths,
            clean=False,
            was_ready=True,
            now=now,
            chance=random.random(),
        )
        self.events.add("exited", name, "", {})
        self.say(20, f"starting another {name}" + (f" in {verdict.delay:.1f} s" if verdict.delay else ""))
        if verdict.delay:
            self.after(verdict.delay, again)
        else:
            again()

    def start_forkserver(
        self, runtime: RuntimeConfig, config: DaemonConfig, site: dict[str, Any] | None
    ) -> Forkserver:
        """Start a forkserver for a runtime of a configuration; it is not used before `fleet.use`.

        Raises:
            OSError: its interpreter cannot be run.
        """
        settings = {
            "parent": os.getpid(),
            "runtime": runtime.name,
            "title": "zocalod",
            "umask": self._umask,
            "python_path": [str(path) for path in runtime.python_path],
            "preload": list(runtime.preload),
            "services": {
                service.name: service.service_class
                for service in config.services.values()
                if service.runtime == runtime.name
            },
            "site": site,
        }
        argv = launch.command(runtime.interpreter, PACKAGE)
        server = forkserver.start(runtime.name, argv, self._runtime_env(runtime.env), settings)
        self.fleet.add(server)
        return server

    def _start_forkserver(self, runtime: RuntimeConfig) -> None:
        if self.state in ("stopping", "stopped"):
            return
        try:
            self.fleet.use(self.start_forkserver(runtime, self.config, self.site))
        except OSError as e:
            said = f"cannot run {runtime.interpreter}: {e.strerror}"
            self.fleet.use(forkserver.unstartable(runtime.name, said))

    def runtimes(self, config: DaemonConfig) -> dict[str, RuntimeConfig]:
        """Return the runtimes that the services of a configuration use."""
        used = {service.runtime for service in config.services.values()}
        return {name: runtime for name, runtime in config.runtimes.items() if name in used}

    def _runtime_env(self, extra: Mapping[str, str]) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        env["ZOCALO_SOCKET"] = str(self.config.control.socket)
        env["ZOCALO_RELAY_SOCKET"] = self._relay_path
        return {**env, **extra}

    def _forkserver_changed(self, server: Forkserver) -> None:
        self.reload.forkserver_changed(server)
        runtime = self.config.runtimes.get(server.runtime)
        in_use = self.fleet.forkservers.get(server.runtime) is server
        if server.state == "failed" and in_use and runtime and self.state in ("starting", "running"):
            self.say(40, server.error)
            if not server.unusable:
                self._helper_died(f"forkserver {server.runtime}", lambda: self._start_forkserver(runtime))
        self._settle_down()

    def _worker_ended(self, pid: int) -> None:
        self.relay.tell("forfeit", {"pid": pid})
        self.figures.forget(pid)

    # -- What operations want to know

    def _describe(self) -> dict[str, Any]:
        return {
            **self._version(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "state": self.state,
            "config_files": [str(path) for path in self.config.files],
            "state_dir": str(self.config.state_dir),
            "relay": {"pid": self.relay.pid or None, "state": self.relay.state},
            "forkservers": [
                {"runtime": name, "pid": server.pid, "state": server.state, "python": server.python}
                for name, server in self.fleet.forkservers.items()
            ],
        }

    def _version(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "protocol": list(control.VERSIONS),
        }

    def _transports(self) -> list[dict[str, Any]]:
        known = {transport["name"]: transport for transport in self.figures.transports}
        nothing = {"connections": 0, "subscriptions": 0, "unsettled": 0, "spooled": 0}
        return [
            known.get(name)
            or {"name": name, "driver": transport.driver, "state": self.relay.state, "host": "", **nothing}
            for name, transport in self.config.transports.items()
        ]

    def _pids(self) -> list[int]:
        return [member.pid for member in self.fleet.processes.values() if member.pid]

    def _role_of(self, uid: int, _gid: int, _pid: int, _groups: tuple[int, ...]) -> str:
        return "admin" if uid in (0, os.getuid()) else "none"


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    return {key: str(item) if isinstance(item, Path) else item for key, item in value.items()}
