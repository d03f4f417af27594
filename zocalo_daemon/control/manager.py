"""What the service manager, systemd, is told of the daemon (sd_notify(3)).

`Told` remembers what was said and decides what is to be said next (pure); `Manager` looks and says it.
Without systemd it costs one comparison for a turn of the loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from zocalo_daemon import notify
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.control import report
from zocalo_daemon.control.operations import Operations
from zocalo_daemon.control.reload import Reload
from zocalo_daemon.control.server import ControlServer
from zocalo_daemon.control.watchdog import Watchdog
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Slot
from zocalo_daemon.values import Value

PATIENCE = 15.0  # seconds until we are ready although some services still start: one may take an hour
PAUSE = 0.5  # seconds between two looks at everything, at least
SHORT_PAUSE = 0.02  # the same as long as somebody waits for us to be ready
EXTENSION = 30.0  # seconds that a stop may take more, said again every third of it while it goes on
FAREWELL = 2.0  # seconds for the last clients to be answered
LONGEST = 200  # characters of what is wrong with a configuration
SHOWN = 3  # instances that are named in the status text


class Facts(Value):
    """What there is to tell.

    Args:
        state: of the daemon.
        settled: no wanted instance starts for the first time, or that takes too long to be waited for.
        reloads: how many were asked for, the one that is under way among them (`reloading`).
        text: for `systemctl status`.
    """

    state: str
    settled: bool
    reloads: int
    reloading: bool
    text: str


class Told:
    """What was said before; `ready` once that was."""

    def __init__(self, reloads: int) -> None:
        self.ready = self._stopping = self._reloading = False
        self._reloads = reloads
        self._text = ""

    def news(self, now: Facts, pid: int, monotonic: float) -> list[dict[str, object]]:
        """Return what to say, in this order, [] if there is nothing new; it counts as said.

        Args:
            pid: of the daemon.
            monotonic: seconds.
        """
        said: list[dict[str, object]] = []
        if now.state in ("stopping", "stopped"):
            if not self._stopping:
                self._stopping = True
                said.append({"STOPPING": 1, "EXTEND_TIMEOUT_USEC": _microseconds(EXTENSION)})
        elif not self.ready:
            if now.settled:
                self.ready = True
                said.append({"READY": 1, "MAINPID": pid})
        else:
            said += self._reload(now, monotonic)
        if self._text != now.text:
            self._text = now.text
            said = [*said[:-1], {**(said[-1] if said else {}), "STATUS": now.text}]
        return said

    def _reload(self, now: Facts, monotonic: float) -> list[dict[str, object]]:
        said: list[dict[str, object]] = []
        if now.reloads != self._reloads:  # it may be over already, if the configuration was refused
            self._reloads, self._reloading = now.reloads, True
            # Without the time systemd cannot tell the answer to its own request from an older one.
            said.append({"RELOADING": 1, "MONOTONIC_USEC": _microseconds(monotonic)})
        if self._reloading and not now.reloading:
            self._reloading = False
            said.append({"READY": 1})
        return said


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)


def text(
    state: str, slots: Sequence[Slot], transports: Sequence[Mapping[str, Any]], refused: str = ""
) -> str:
    """Return in one line how the daemon is; `refused` is why the last reload has changed nothing."""
    wanted = [slot for slot in slots if slot.wanted]
    if state in ("stopping", "stopped"):
        left = sum(slot.state is not State.STOPPED for slot in slots)
        return f"stopping: {left} of {len(slots)} instances have still to finish"
    ready = sum(slot.state is State.READY for slot in wanted)
    said = [f"{ready} of {len(wanted)} instances ready" if wanted else "no instances"]
    for bad in (State.FAILED, State.BACKOFF):
        names = [slot.id for slot in wanted if slot.state is bad]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        said += [f"{bad}: {', '.join(names[:SHOWN])}{more}"] if names else []
    said += [f"{one['name']}: {_transport(one)}" for one in transports]
    said += [f"the last reload changed nothing: {refused[:LONGEST]}"] if refused else []
    return f"{state}: {'; '.join(said)}" if state != "running" else "; ".join(said)


def _transport(one: Mapping[str, Any]) -> str:
    # The embedded broker's host is a directory, which is always the same.
    where = f" to {one['host']}" if one["host"] and one["driver"] != "embedded" else ""
    why = f" ({one['detail']})" if one.get("detail") else ""
    return f"{one['state']}{where}{why}"


class Host(Protocol):
    """The daemon, as far as there is something to tell of it."""

    config: DaemonConfig
    state: str
    loop: Loop
    figures: Figures
    roster: Roster
    relay: Relay
    relays: list[Relay]
    reload: Reload
    operations: Operations
    server: ControlServer

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""


class Manager:
    """Looks when something has changed, and sees to it that nobody is turned away for a restart."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._notifier = notify.Notifier(os.environ)
        self._told = Told(host.reload.attempts)
        self._unsaid: list[dict[str, object]] = []  # what did not fit into the queue of the manager
        self._changed, self._look_at = True, 0.0
        self._seen: tuple[object, ...] = ()
        self._leave_at = 0.0  # monotonic seconds, once the daemon leaves
        self._late = False  # nobody waits any longer for the services that still start
        if self._notifier:
            host.loop.after(PATIENCE, self._give_up_waiting)
            limit = notify.watchdog(os.environ, os.getpid())
            if limit:
                Watchdog(host, limit, lambda: self._notifier.tell(WATCHDOG=1))

    def changed(self) -> None:
        """Note that there may be something to tell."""
        self._changed = True

    def step(self) -> None:
        """Tell it; called after every turn of the loop."""
        if not self._notifier:
            return
        now, seen = time.monotonic(), self._look()
        if seen == self._seen and (not self._changed or now < self._look_at):
            return  # if something has changed, the timer below comes back to it
        self._seen, self._changed = seen, False
        if now >= self._look_at:
            pause = PAUSE if self._told.ready else SHORT_PAUSE
            self._look_at = now + pause
            self._host.loop.after(pause, lambda: None)
        self._say(self._told.news(self._facts(now), os.getpid(), now))

    def farewell(self) -> bool:
        """Take in no more clients, and return whether those who came before have their answers.

        Who comes later waits for the next daemon, in a socket that systemd keeps.
        """
        host, now = self._host, time.monotonic()
        if not self._leave_at:
            self._leave_at = now + FAREWELL
            host.loop.after(FAREWELL, lambda: None)
            host.server.leave()
        return now >= self._leave_at or not (host.operations.forwarded or host.server.unheard())

    def _say(self, more: list[dict[str, object]]) -> None:
        self._unsaid += more
        while self._unsaid and self._notifier.tell(**self._unsaid[0]):
            if self._unsaid.pop(0).get("STOPPING"):
                self._host.loop.after(EXTENSION / 3, self._extend)
        if self._unsaid:
            self._changed = True  # with the next look

    def _look(self) -> tuple[object, ...]:
        """Return what is told of at once when it changes, and is cheap to look at."""
        host = self._host
        states = ((one["state"], one["host"]) for one in host.figures.transports)
        return host.state, host.reload.attempts, host.reload.active, host.relay.trouble, *states

    def _facts(self, now: float) -> Facts:
        host = self._host
        slots = list(host.roster.slots())
        first = [slot for slot in slots if slot.wanted and slot.state is State.STARTING and not slot.restarts]
        transports = report.transports(host.config, host.figures, host.relay.state, host.relay.trouble, now)
        settled = self._late or (host.state == "running" and not first)
        said = text(host.state, slots, transports, host.reload.refused)
        return Facts(host.state, settled, host.reload.attempts, host.reload.active, said)

    def _give_up_waiting(self) -> None:
        self._late = self._changed = True

    def _extend(self) -> None:
        self._notifier.tell(EXTEND_TIMEOUT_USEC=_microseconds(EXTENSION))
        self._host.loop.after(EXTENSION / 3, self._extend)
