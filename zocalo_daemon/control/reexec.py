"""Replaces the supervisor's own code in place: execve(2) of its own command line, with all that it holds.

First a rehearsal: the new code is started as a child with a copy of the handover, makes a whole supervisor of
it, except that its descriptors are stand-ins, and says which version it is. Meanwhile the old code serves on,
and if the new one fails in any way, that is all that has happened.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import sys
import time
from typing import Any, Protocol

from zocalo_daemon.control import takeover
from zocalo_daemon.control.reload import Reload
from zocalo_daemon.control.renewal import Renewal
from zocalo_daemon.control.request import Request
from zocalo_daemon.errors import Unavailable, ZocaloError
from zocalo_daemon.supervision import handover, process
from zocalo_daemon.supervision.crash import Crashes
from zocalo_daemon.supervision.signals import WANTED

PATIENCE = 30.0  # seconds for the new code to start and to read the handover
QUIET = 2.0  # seconds for the relay to answer what only the old code can make use of
MAX_SAID = 64 * 1024  # bytes of what the rehearsal writes that are kept
READY = "ready "  # the last line of a rehearsal that went well begins with this


class Host(takeover.Host, Protocol):
    """What this needs of the daemon: everything."""

    state: str
    reload: Reload
    renewal: Renewal
    crashes: Crashes

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""


class Reexec:
    """At most one at a time; `pid` is that of the rehearsal, 0 without one."""

    def __init__(self, host: Host) -> None:
        self.pid = 0
        self._host = host
        self._pidfd = self._pipe = -1
        self._said = b""
        self._request: Request | None = None
        self._version = ""  # of the new code, once it has rehearsed
        self._until = 0.0

    def requested(self, request: Request) -> None:
        """Carry out the operation `reexec`; the new code answers it, or this one if it goes on.

        Raises:
            Unavailable: not now.
        """
        self.begin(request)

    def begin(self, request: Request | None) -> None:
        """Start the rehearsal.

        Raises:
            Unavailable: not now; without `request` it is logged.
        """
        problem = self._objection()
        if problem is None and (self.pid or self._version):
            problem = "the code is being replaced already"
        if problem and request:
            raise Unavailable(problem)
        if problem:
            self._host.say(30, f"reexec refused: {problem}")
            return
        self._request = request
        self._host.say(20, "reexec: rehearsing the new code")
        try:
            self._rehearse()
        except Exception as e:  # whatever it is, this code goes on
            self._fail(f"the new code cannot be started: {getattr(e, 'strerror', None) or e}")

    def step(self) -> None:
        """Replace the code if that is due and possible; called after every turn of the loop."""
        if not self._version:
            return
        if problem := self._objection():
            self._fail(problem)
        elif not self._waits_for_relay():
            self._replace()
        elif time.monotonic() >= self._until:
            self._fail(f"the relay has not answered what was asked within {QUIET:g} s; try again")

    def _objection(self) -> str | None:
        """Return why the code cannot be replaced at this moment."""
        if self._host.state != "running":
            return f"the daemon is {self._host.state}; try again once it is running"
        if self._host.reload.active:
            return "a reload is under way; try again when it has ended"
        if self._host.renewal.active:
            return (
                "relay and forkservers are still being renewed after the last reexec; try again in a moment"
            )
        return None

    def _waits_for_relay(self) -> bool:
        """Return whether a relay has to answer requests that are not a client's."""
        host = self._host
        asked = any(relay.unanswered() for relay in host.relays if relay is not host.relay)
        return asked or not host.relay.unanswered() <= host.operations.forwarded

    # -- The rehearsal

    def _rehearse(self) -> None:
        memory = handover.write(takeover.hand_over(self._host, handover.Leaving()))
        self._pipe, write = process.log_pipe()
        self._said = b""
        env = {**os.environ, handover.VARIABLE: f"{handover.REHEARSE} 3"}
        try:
            self.pid, self._pidfd = process.start(command(), env, {3: memory}, write)
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(memory)
            os.close(write)
        self._host.loop.selector.register(self._pipe, selectors.EVENT_READ, self._hear)
        self._host.loop.selector.register(self._pidfd, selectors.EVENT_READ, self._rehearsed)
        pid = self.pid
        self._host.loop.after(PATIENCE, lambda: self._too_late(pid))

    def _hear(self, _mask: int) -> bool:
        try:
            data = os.read(self._pipe, MAX_SAID)
        except BlockingIOError:
            return False
        self._said = (self._said + data)[-MAX_SAID:]
        if not data:
            with contextlib.suppress(KeyError):
                self._host.loop.selector.unregister(self._pipe)
        return bool(data)

    def _too_late(self, pid: int) -> None:
        if pid == self.pid:
            self._said += f"\nit was not ready within {PATIENCE:g} s".encode()
            process.kill_group(pid)

    def _rehearsed(self, _mask: int) -> None:
        selector = self._host.loop.selector
        while self._hear(0):
            pass
        selector.unregister(self._pidfd)
        with contextlib.suppress(KeyError):
            selector.unregister(self._pipe)
        os.close(self._pipe)
        exit_ = process.reap(self.pid, self._pidfd)
        self.pid = 0
        lines = [line for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        if exit_.clean and lines and lines[-1].startswith(READY):
            self._version = lines[-1].removeprefix(READY)
            self._until = time.monotonic() + QUIET
            self._host.loop.after(QUIET, lambda: None)  # a turn of the loop, if nothing else makes one
        else:
            for line in lines[-40:]:
                self._host.say(30, f"rehearsal: {line}")
            self._fail(f"the new code does not start: {reason(lines) or exit_}")

    def _fail(self, why: str) -> None:
        host, request = self._host, self._request
        self._request, self._version = None, ""
        host.say(40, f"reexec changed nothing: {why}")
        host.events.add("reexec-failed", "zocalod", why, {})
        if request:
            request.error(ZocaloError(f"the old code goes on: {why}"))

    # -- The replacement

    def _replace(self) -> None:
        host = self._host
        host.say(20, f"reexec: zocalod {self._version} takes over")
        host.crashes.finish()
        since = time.monotonic()
        # From here to the moment when the new code has its handlers, signals wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, WANTED)
        leaving = handover.Leaving()
        memory = -1
        try:
            memory = handover.write({**takeover.hand_over(host, leaving), "since": since})
            leaving.keep(memory)
            leaving.open(True)
            env = {**os.environ, handover.VARIABLE: f"{handover.TAKE_OVER} {memory}"}
            os.execve(sys.executable, command(), env)  # noqa: S606 - our own command line
        except Exception as e:  # whatever it is, this code goes on
            leaving.open(False)
            if memory >= 0:
                os.close(memory)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WANTED)
            self._fail(f"the new code cannot be run: {getattr(e, 'strerror', None) or e}")


def resumed(host: Any, askers: list[Request], since: float, version: str) -> None:
    """Say that this is the new code, and answer those who have asked for it.

    Args:
        since: monotonic seconds when the old code stopped to serve.
    """
    gap = time.monotonic() - since
    text = f"zocalod {version} has taken over; nobody was answered for {gap * 1000:.0f} ms"
    host.say(20, f"reexec: {text}")
    host.events.add("reexec", "zocalod", text, {})
    for request in askers:
        request.ok({"version": version, "pid": os.getpid(), "gap_s": round(gap, 4)})


def reason(lines: list[str]) -> str:
    """Return in one line why an interpreter ended: what it said last, and where, if that was a traceback."""
    last = lines[-1] if lines else ""
    places = [found for line in lines if (found := re.match(r'\s*File "(.+?)", line (\d+)', line))]
    if not places or last.startswith("zocalod:"):
        return last.removeprefix("zocalod: ")
    return f"{last} ({places[-1][1]}, line {places[-1][2]})"


def command() -> list[str]:
    """Return our own command line; by the full path, as argv[0] alone might mean another interpreter."""
    return [sys.executable, *sys.orig_argv[1:]]
