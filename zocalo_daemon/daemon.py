"""The supervisor's one loop, and how the parts hang together.

Everything that can happen is a descriptor or a deadline of `supervision/loop`. What the parts decide, they
return or report; it is performed here, and nowhere else.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zocalo_daemon import __version__, linux
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.supervision.actions import Abort, Action, Announce, Drain, Finish, Kill, Spawn, Trace
from zocalo_daemon.supervision.crash import Crashes
from zocalo_daemon.supervision.events import Exit, Forked, Report, Traced
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.forwarding import Forwarding
from zocalo_daemon.supervision.guard import Guard
from zocalo_daemon.supervision.helpers import Helpers, used_runtimes
from zocalo_daemon.supervision.logs import EventBook, LogBook
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.premises import Premises
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.reports import Reports
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.signals import Signals
from zocalo_daemon.supervision.strays import Strays
from zocalo_daemon.supervision.worker_process import Process
from zocalo_daemon.worker import launch

GRACE = 10.0  # seconds for relay and forkservers to finish when the daemon stops


def forkserver_argv(interpreter: Path | None) -> list[str]:
    """Return the command line of a forkserver; None is the interpreter that runs now."""
    return launch.command(interpreter, Path(__file__).parent)


class Daemon:
    """zocalod once its configuration is read and its sockets are bound.

    Args:
        config, site: the configuration, and the site configuration as plain data.
        premises: what it has from its start to its end.
        load: reads configuration and site configuration again, for a reload.
    """

    def __init__(
        self,
        config: DaemonConfig,
        site: dict[str, Any] | None,
        premises: Premises,
        *,
        load: Callable[[], tuple[DaemonConfig, dict[str, Any] | None]],
        logbook: LogBook,
    ) -> None:
        self.config, self.site, self.premises = config, site, premises
        self.state = "starting"
        self.loop, self.log = Loop(), logbook
        self.events, self.figures = EventBook(time.time), Figures(time.monotonic)
        self.roster = Roster(random.random)
        self.relays = [self._make_relay(index) for index in range(config.relay_processes)]
        self.relay = self.relays[0]  # the one that answers operators
        self.strays = Strays(premises.life.marker, premises.groups, self.loop.after, self.say)
        self.fleet = self._make_fleet()
        self.crashes = Crashes(self, Reports(config.state_dir / "crashes"))
        self.helpers = self._make_helpers()
        self.guard = Guard(
            self.fleet,
            helpers=self.helpers.names,
            services=lambda: self.config.services,
            after=self.loop.after,
            report=self._report,
            tell=self._tell,
        )
        self.forwarding = Forwarding(self.relay, self.log, lambda: self.site)
        self._load = load

    def _make_relay(self, index: int) -> Relay:
        return Relay(
            self.loop.selector,
            self.log,
            on_ready=lambda: self._relay_ready(self.relays[index]),
            on_end=lambda exit_: self._relay_ended(self.relays[index], exit_),
            on_figures=lambda told: self._relay_reports(told, index),
            index=index,
        )

    def _make_fleet(self) -> Fleet:
        return Fleet(
            self.loop.selector,
            self.log,
            report=self._report,
            on_end=self._worker_ended,
            on_change=self._forkserver_changed,
            others=lambda: {self.reexec.pid, *(relay.pid for relay in self.relays)},
            strays=self.strays,
        )

    def _make_helpers(self) -> Helpers:
        return Helpers(
            self.relays,
            self.fleet,
            premises=self.premises,
            forkserver_argv=forkserver_argv,
            after=self.loop.after,
            say=self.say,
            announce=lambda event, name, text: self.events.add(event, name, text, {}),
        )

    def open_control(self) -> None:
        """Serve the control socket."""
        # Imported only now, while relay and forkservers import: they start 50 of 180 ms earlier (measured).
        from zocalo_daemon.control import (  # noqa: PLC0415
            about,
            cluster,
            manager,
            operations,
            reexec,
            reload,
            renewal,
            roles,
            server,
            web,
        )

        self.web = web.Web(self)
        self.reload = reload.Reload(self, self._load)
        self.renewal = renewal.Renewal(self)
        self.reexec = reexec.Reexec(self)
        self.cluster = cluster.Cluster(self)
        self.manager = manager.Manager(self)
        self.operations = operations.Operations(
            about.parts(self, self.reload.requested, self.reexec.requested)
        )
        self.server = server.ControlServer(
            self.premises.control,
            self.loop.selector,
            version=__version__,
            rights_of=lambda uid, gid, _pid, groups: roles.rights_of(
                self.config.control, uid, {gid, *groups}
            ),
            handler=self.operations.handle,
            log=lambda text: self.say(20, text),
        )

    # -- The loop

    def run(self, begin: Callable[[], None] | None = None) -> None:
        """Run until the daemon has stopped.

        Args:
            begin: takes the place of starting everything, when that is there already.
        """
        Signals(self.loop.selector, self._signalled)
        linux.become_subreaper()
        (begin or self._begin)()
        while not (self.state == "stopped" and self.helpers.ended()):
            self.loop.turn(self.roster.next_deadline())
            self.perform(self.roster.tick(time.monotonic()))
            self.reexec.step()
            self.manager.step()
        self.crashes.finish()
        self.server.close()

    def _begin(self) -> None:
        self.start_helpers()
        self.open_control()
        self.perform(self.roster.apply(self.config.services, (), time.monotonic()))

    def start_helpers(self) -> None:
        """Start the relays and the forkservers, as far as they do not run."""
        self.helpers.start_relays(lambda: self.config)
        for name, runtime in used_runtimes(self.config).items():
            server = self.fleet.forkservers.get(name)
            if server is None or (server.state == "failed" and not server.unusable):
                self.helpers.start_and_use(runtime, self.config, self.site)

    def say(self, level: int, text: str, about: str = "") -> None:
        """Log one line of the daemon's own; `about` is an instance."""
        self.log.add("zocalod", level, text, fields={"instance": about} if "/" in about else None)

    def _tell(self, event: str, name: str, text: str) -> None:
        self.events.add(event, name, text, {})
        self.say(30 if event == "stalled" else 20, f"{name} {event}: {text}", name)

    # -- Performing what was decided

    def perform(self, actions: list[Action]) -> None:
        """Carry out what the roster has decided."""
        for action in actions:
            match action:
                case Spawn(serial, instance, service):
                    settings = self.helpers.worker_settings(action, self.config)
                    self.fleet.spawn(serial, instance, service, settings)
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
                    self.say(level, f"{instance} {event}{': ' if text else ''}{text}", instance)
                case Finish():
                    self.operations.finished(action)
        if actions or self.state == "stopping":
            self._settle_down()

    def _report(self, event: Report) -> None:
        if isinstance(event, Traced):
            self.crashes.trail.add(event.lines)
            return
        if isinstance(event, Forked):
            self.figures.watch(event.pid)
            self.guard.forked(event.serial)
        self.perform(self.roster.handle(event, time.monotonic()))
        self.cluster.wake()

    def _settle_down(self) -> None:
        """Notice that the start is over, or that every worker has stopped."""
        self.manager.changed()
        if self.state == "starting" and all(relay.state == "ready" for relay in self.relays):
            self.state = "running"
        if self.state == "stopping" and self.roster.idle() and self.manager.farewell():
            self.state = "stopped"
            self.cluster.tell()  # the last of the workers, before the relay ends
            self.helpers.stop()
            self.loop.after(GRACE, self.helpers.kill)

    # -- What happens

    def _signalled(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGCHLD:
                self.guard.children_changed()
                self.fleet.adopt()
            case signal.SIGHUP:
                if self.state in ("starting", "running"):
                    self.reload.begin(None)
            case signal.SIGUSR2:
                self.reexec.begin(None)
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

    def _relay_ready(self, relay: Relay) -> None:
        self.helpers.relay_ready(relay)
        self.renewal.relay_ready(relay)
        self.cluster.wake()
        if relay is self.relay:
            self.forwarding.tell()
        self._settle_down()

    def _relay_reports(self, told: dict[str, Any], index: int) -> None:
        self.figures.relay_reports(told["workers"], told["transports"], index)
        self.cluster.reported(told["workers"], index)

    def _relay_ended(self, relay: Relay, exit_: Exit) -> None:
        self.figures.relay_ended(relay.index)
        self.helpers.relay_ended(relay, exit_, lambda: self.config)

    def _forkserver_changed(self, server: Forkserver) -> None:
        self.reload.forkserver_changed(server)
        self.renewal.forkserver_changed(server)
        if server.state == "failed":
            self.helpers.forkserver_ended(server, self.config, self.site)

    def _worker_ended(self, worker: Process, exit_: Exit) -> str:
        self.figures.worker_ended(worker.pid, worker.service.name, self.fleet.board.tally(worker.board))
        self.server.resume()  # there are descriptors again
        return self.crashes.ended(worker, exit_)
