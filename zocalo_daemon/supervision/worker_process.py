"""One worker as a process: its descriptors, and what its messages mean."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.protocol.channel import Message, encode
from zocalo_daemon.supervision import logfields, statuses
from zocalo_daemon.supervision.events import Ready, Report, Spent, Traced
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.handover import Leaving, Taking
from zocalo_daemon.supervision.liveness import Phase
from zocalo_daemon.supervision.logpipe import LogPipe
from zocalo_daemon.supervision.logs import LogBook, Ring
from zocalo_daemon.values import Record, field, made, parts

TAIL_LINES, TAIL_BYTES = 300, 48 * 1024  # for the crash report: the latest lines, a traceback among them


class Process(Record):
    """A worker that was asked for: its ends of channel and log pipe, and its pid once that is known."""

    serial: int
    instance: str
    forkserver: Forkserver
    service: ServiceConfig  # as the configuration has it now; that of a service that is gone, as it was
    board: int  # the number of its entry
    channel: socket.socket | None = None
    log: LogPipe | None = None
    pid: int = 0
    pidfd: int = -1
    error: str = ""  # its last word about itself,
    kind: str = ""  # the exception that it means,
    traceback: str = ""  # and where that came from
    drained: bool = False  # it was asked to finish
    killed: bool = False  # the supervisor has killed it
    tail: Ring = field(default_factory=lambda: Ring(TAIL_LINES, TAIL_BYTES))
    oom_kills: int = 0  # in its control group, known once it has ended
    doomed: bool = False  # to be killed as soon as its pid is known
    phase: Phase = Phase.INITIALIZING
    since: float = 0.0  # when that began, or it was stopped or continued; monotonic seconds
    stopped: str = ""  # by what signal
    hung: bool = False  # that was reported
    name: str = ""  # what the service calls itself

    def hand_over(self, leaving: Leaving) -> dict[str, Any]:
        """Return what `take_over` makes of it in the new code."""
        state = parts(self, "forkserver", "channel", "log", "pidfd", "tail")
        state["tail"] = self.tail.hand_over()
        state["pidfd"] = leaving.keep(self.pidfd) if self.pid else -1
        state["channel"] = leaving.keep(self.channel) if self.channel else None
        state["log"] = self.log.hand_over(leaving) if self.log else None
        return state

    @classmethod
    def take_over(
        cls,
        state: Mapping[str, Any],
        taking: Taking,
        forkserver: Forkserver,
        log_pipe: Callable[[dict[str, Any]], LogPipe],
    ) -> Process:
        """Return the worker of the old code."""
        end = taking.socket(state["channel"]) if state["channel"] is not None else None
        if end:
            end.setblocking(False)
        own = {
            "forkserver": forkserver,
            "pidfd": taking.pidfd(state["pidfd"]) if state["pid"] else -1,
            "channel": end,
            "log": log_pipe(state["log"]) if state["log"] else None,
            "tail": Ring(TAIL_LINES, TAIL_BYTES, state["tail"]),
        }
        taken = made(cls, {**state, **own})
        if taken.log:
            taken.log.tail = taken.tail
        return taken

    def opened(self, channel: socket.socket, log: LogPipe) -> None:
        """Its forkserver has its ends of channel and log pipe: these are the supervisor's."""
        self.channel, self.log = channel, log
        log.tail = self.tail

    def limit(self, **limits: int | None) -> None:
        """Have other limits (max_messages, max_rss) count from now on."""
        for request in self.forkserver.waiting:
            if request.serial == self.serial:
                request.worker.update(limits)
        if self.channel:
            with contextlib.suppress(OSError):  # it is dying, or reads nothing
                self.channel.send(encode({"do": "limits", **limits}))

    def heard(self, message: Message, logbook: LogBook) -> Report | None:
        """Take in a message of the worker; return the event for the roster, if it is one."""
        match message.get("event"):
            case "ready":
                self._enter(Phase.SERVING)
                self._call(message)
                return Ready(self.serial)
            case "state" if message.get("state") == "stopping":
                self._enter(Phase.IN_SHUTDOWN)
            case "name":
                self._call(message)
            case "spent":
                return Spent(self.serial, str(message.get("why", ""))[:100])
            case "trail" if isinstance(message.get("lines"), bytes):
                return Traced(self.serial, message["lines"])
            case "log":
                self._log_record(message, logbook)
            case "error" | "garbage" as event:
                self.error = str(message.get("error", ""))[:1000]
                self.kind = str(message.get("kind", ""))[:200]
                self.traceback = str(message.get("traceback", ""))
                if event == "error":
                    self._enter(Phase.IN_SHUTDOWN)  # which CommonService calls after an error too
        return None

    def _call(self, message: Message) -> None:
        self.name = str(message.get("name") or self.name)[:200]

    def _enter(self, phase: Phase) -> None:
        self.phase, self.since = phase, time.monotonic()

    def _log_record(self, message: Message, logbook: LogBook) -> None:
        if dropped := message.get("dropped"):
            logbook.add(
                self.instance, 30, f"{dropped} log messages dropped: too many at once", tail=self.tail
            )
        status = {
            "host": f"{statuses.machine()}.{self.pid}",
            "service": self.name or self.service.name,
            "serviceclass": statuses.class_name(self.forkserver.classes.get(self.service.name, {})),
            "workflows": self.forkserver.workflows,
        }
        logbook.add_record(self.instance, message, self.tail, *logfields.told(message, status))
