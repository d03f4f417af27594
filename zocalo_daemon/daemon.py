"""The supervisor's one loop, and how the parts hang together.

Everything that can happen is a descriptor or a deadline of `supervision/loop`. What the parts decide, they
return or report; it is performed here, and nowhere else.
"""

from __future__ import annotations

import os
import platform
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zocalo_daemon import __version__, linux
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.protocol import control
from zocalo_daemon.supervision.actions import Abort, Action, Announce, Drain, Finish, Kill, Spawn, Trace
from zocalo_daemon.supervision.events import Event, Exit, Forked
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.guard import Guard
from zocalo_daemon.supervision.helpers import Helpers, used_runtimes
from zocalo_daemon.supervision.life import Life
from zocalo_daemon.supervision.logs import EventBook, LogBook
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.signals import Signals
from zocalo_daemon.supervision.strays import Strays
from zocalo_daemon.worker import launch

PACKAGE = Path(__file__).parent
GRACE = 10.0  # seconds for relay and forkservers to finish when the daemon stops


def forkserver_argv(interpreter: Path | None) -> list[str]:
    """Return the command line of a forkserver; None is the interpreter that runs now."""
    return launch.command(interpreter, PACKAGE)


class Daemon:
    """zocalod once its configuration is read and its sockets are bound.

    Args:
        config, site: the configuration, and the site configuration as plain data.
        load: reads both again, for a reload.
        control_socket, relay_socket: bound and listening, the latter at `relay_path`.
        umask: that of the services.
        life: the lock, and what the processes of this daemon are known by.
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
        life: Life,
        logbook: LogBook,
    ) -> None:
        self.life = life
        self.config, self.site = config, site
        self.state = "starting"
        self._started = time.monotonic()
        self.loop = Loop()
        self.log = logbook
        self.events = EventBook(time.time)
        self.figures = Figures(time.monotonic)
        self.roster = Roster(random.random)
        self.relay = self._make_relay()
        self.fleet = self._make_fleet()
        self.helpers = self._make_helpers(relay_socket, relay_path, umask)
        self.guard = Guard(
            self.fleet,
            helpers=self.helpers.names,
            services=lambda: self.config.services,
            after=self.loop.after,
            report=self._report,
            tell=self._tell,
        )
        self._load = load
        self._control_socket = control_socket

    # -- The parts, and how each reaches the others

    def _make_relay(self) -> Relay:
        return Relay(
            self.loop.selector,
            self.log,
            on_ready=self._settle_down,
            on_end=self._relay_ended,
            on_figures=lambda report: self.figures.relay_reports(report["workers"], report["transports"]),
        )

    def _make_fleet(self) -> Fleet:
        return Fleet(
            self.loop.selector,
            self.log,
            report=self._report,
            on_end=self._worker_ended,
            on_change=self._forkserver_changed,
            others=lambda: {self.relay.pid},
            strays=Strays(self.life.marker, self.loop.after, self.say),
        )

    def _make_helpers(self, relay_socket: socket.socket, relay_path: Path, umask: int) -> Helpers:
        return Helpers(
            self.relay,
            self.fleet,
            listener=relay_socket.fileno(),
            relay_path=relay_path,
            umask=umask,
            life=self.life,
            forkserver_argv=forkserver_argv,
            after=self.loop.after,
            say=self.say,
            announce=lambda event, name, text: self.events.add(event, name, text, {}),
        )

    def _open_control(self) -> None:
        # Imported only now, while the relay and the forkservers import what they need: everybody waits for
        # those. Measured: they start 50 of 180 ms earlier.
        from zocalo_daemon.control import operations, reload, report, roles, server  # noqa: PLC0415

        self.reload = reload.Reload(self, self._load)
        parts = operations.Parts(
            roster=self.roster,
            figures=self.figures,
            logbook=self.log,
            eventbook=self.events,
            relay=self.relay,
            perform=self.perform,
            clock=time.monotonic,
            daemon=self._describe,
            transports=lambda: report.transports(
                self.config, self.figures, self.relay.state, self.relay.trouble
            ),
            pids=lambda: [worker.pid for worker in self.fleet.processes.values() if worker.pid],
            reload=self.reload.requested,
            version=self._version,
            stopping=lambda: self.state in ("stopping", "stopped"),
        )
        self.operations = operations.Operations(parts)
        self._server = server.ControlServer(
            self._control_socket,
            self.loop.selector,
            version=__version__,
            rights_of=lambda uid, gid, _pid, groups: roles.rights_of(
                self.config.control, uid, {gid, *groups}
            ),
            handler=self.operations.handle,
            log=lambda text: self.say(20, text),
        )

    # -- The loop

    def run(self) -> None:
        """Run until the daemon has stopped."""
        Signals(self.loop.selector, self._signalled)
        linux.become_subreaper()
        self.helpers.start_relay(lambda: self.config)
        for runtime in used_runtimes(self.config).values():
            self.helpers.start_and_use(runtime, self.config, self.site)
        self._open_control()
        self.perform(self.roster.apply(self.config.services, (), time.monotonic()))
        while not (self.state == "stopped" and self.helpers.ended()):
            self.loop.turn(self.roster.next_deadline())
            self.perform(self.roster.tick(time.monotonic()))
        self._server.close()

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""
        self.log.add("zocalod", level, text)

    def _tell(self, event: str, name: str, text: str) -> None:
        self.events.add(event, name, text, {})
        self.say(30 if event == "stalled" else 20, f"{name} {event}: {text}")

    # -- Performing what was decided

    def perform(self, actions: list[Action]) -> None:
        """Carry out what the roster has decided."""
        for action in actions:
            match action:
                case Spawn(serial, instance, service):
                    self.fleet.spawn(serial, instance, service, self.helpers.worker_settings(action))
                case Drain(serial):
                    self.fleet.drain(serial)
                case Kill(serial):
                    self.fleet.kill(serial)
                    self.guard.killed(serial)
                case Trace(serial):
                    self.fleet.trace(serial)
                case Abort(serial):
                    self.fleet.abort(serial)
                case Announce(event, instance, text, data):
                    self.events.add(event, instance, text, data)
                    unwell = data.get("code") or event in ("kept", "hung", "stalled")
                    level = 40 if event == "failed" else 30 if unwell else 20
                    self.say(level, f"{instance} {event}{': ' if text else ''}{text}")
                case Finish():
                    self.operations.finished(action)
        if actions:
            self._settle_down()

    def _report(self, event: Event) -> None:
        if isinstance(event, Forked):
            self.figures.watch(event.pid)
            self.guard.forked(event.serial)
        self.perform(self.roster.handle(event, time.monotonic()))

    def _settle_down(self) -> None:
        """Notice that the start is over, or that every worker has stopped."""
        if self.state == "starting" and self.relay.state == "ready":
            self.state = "running"
        if self.state == "stopping" and self.roster.idle():
            self.state = "stopped"
            self.helpers.stop()
            self.loop.after(GRACE, self.helpers.kill)

    # -- What happens

    def _signalled(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGCHLD:
                self.guard.children_changed()
                self.fleet.adopt()
            case signal.SIGHUP if self.state in ("starting", "running"):
                self.reload.begin(None)
            case signal.SIGHUP:
                pass
            case _:
                self._stop(number.name)

    def _stop(self, why: str) -> None:
        if self.state in ("stopping", "stopped"):
            self.say(30, f"{why} again: killing what is left")
            for serial in list(self.fleet.processes):
                self.fleet.kill(serial)
            if self.state == "stopped":
                self.helpers.kill()
            return
        self.say(20, f"{why}: stopping")
        self.state = "stopping"
        self.reload.cancel()
        self.perform(self.roster.down([slot.id for slot in self.roster.slots()], time.monotonic()))
        self._settle_down()

    def _relay_ended(self, exit_: Exit) -> None:
        self.figures.relay_ended()
        self.helpers.relay_ended(exit_, lambda: self.config)

    def _forkserver_changed(self, server: Forkserver) -> None:
        self.reload.forkserver_changed(server)
        if server.state == "failed":
            self.helpers.forkserver_ended(server, self.config, self.site)

    def _worker_ended(self, pid: int) -> None:
        self.relay.tell("forfeit", {"pid": pid})
        self.figures.forget(pid)
        self._server.resume()  # there are descriptors again

    # -- What operations want to know

    def _describe(self) -> dict[str, Any]:
        return {
            **self._version(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "state": self.state,
            "config_files": [str(path) for path in self.config.files],
            "state_dir": str(self.config.state_dir),
            **self.helpers.describe(self.guard.trouble),
        }

    def _version(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "protocol": list(control.VERSIONS),
        }
