"""One worker as a process: its descriptors, and what its messages mean."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from zocalo_daemon.protocol.channel import Message
from zocalo_daemon.supervision.events import Event, Ready
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.logpipe import LogPipe
from zocalo_daemon.supervision.logs import LogBook


@dataclass(slots=True, eq=False)
class Process:
    """A worker that was asked for: its ends of channel and log pipe, and its pid once that is known."""

    serial: int
    instance: str
    forkserver: Forkserver
    board: int  # the number of its entry
    channel: socket.socket | None = None
    log: LogPipe | None = None
    pid: int = 0
    pidfd: int = -1
    error: str = ""  # its last word about itself
    doomed: bool = False  # to be killed as soon as its pid is known

    def heard(self, message: Message, logbook: LogBook) -> Event | None:
        """Take in a message of the worker; return the event for the roster, if it is one."""
        match message.get("event"):
            case "ready":
                return Ready(self.serial)
            case "log":
                self._log_record(message, logbook)
            case "error" | "garbage":
                self.error = str(message.get("error", ""))[:1000]
        return None

    def _log_record(self, message: Message, logbook: LogBook) -> None:
        if dropped := message.get("dropped"):
            logbook.add(self.instance, 30, f"{dropped} log messages dropped: too many at once")
        text = str(message.get("message", ""))
        extra = message.get("extra")
        if isinstance(extra, dict) and (recipe := extra.get("recipe_ID")):
            text = f"[{recipe}] {text}"
        logbook.add_record(self.instance, {**message, "message": text})
