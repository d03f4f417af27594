"""The two pipe-like objects that a CommonService is given, over the worker's channel to the supervisor."""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol import channel as protocol
from zocalo_daemon.site.secrets import SHOWN, is_secret
from zocalo_daemon.worker.lookup import describe

# Numbers of workflows.services.common_service.Status
_IDLE, _TIMER, _PROCESSING, _SHUTDOWN, _END, _ERROR = 2, 3, 4, 5, 6, 7
_BUSY = frozenset((_IDLE, _TIMER, _PROCESSING))

_SEND_TIMEOUT = 2.0  # seconds that a message which must get through may wait for a full channel
_MAX_TEXT = 32 * 1024  # bytes of a log message; with the extra fields it stays under MAX_MESSAGE
_MAX_FIELD = 1024  # bytes of an extra field
_MAX_FIELDS = 24
_STANDARD_FIELDS = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "asctime",
    "message",
    "taskName",
}


class Frontend:
    """What the service sends to its frontend: status, log records, its name.

    Called for every message that the service handles, twice, so the common case is first and does nothing.

    Args:
        channel: to the supervisor.
        drain: called when the service asks to be terminated; makes Commands hand out the shutdown.
    """

    def __init__(self, channel: socket.socket, drain: Callable[[], None]) -> None:
        self._channel = channel
        self._drain = drain
        self._ready = False
        self._dropped = 0  # log records since the last one that got through
        self.name = ""  # of the service
        self.failed = False
        self.pass_on: Callable[[logging.LogRecord], None] | None = None  # where log records go besides

    def send(self, data: dict[str, Any]) -> None:
        """Pass on one message of the service; never blocks for a log record, unknown bands are ignored."""
        band = data.get("band")
        if band == "status_update":
            status = data["statuscode"]
            if not (self._ready and status in _BUSY):
                self._status(status)
        elif band == "log":
            self._log(data["payload"])
        elif band == "set_name":
            self.name = str(data.get("name"))
            self._urgent({"event": "name", "name": _text(self.name, _MAX_FIELD)})
        elif band == "request_termination":
            self._urgent({"event": "terminate"})
            self._drain()

    def spent(self, why: str) -> None:
        """Report that the worker has done enough, and why."""
        self._urgent({"event": "spent", "why": why})

    def error(self, e: BaseException, *, show: bool) -> None:
        """Report why the worker ends, once; `show` writes the traceback to stderr."""
        if show:
            traceback.print_exception(type(e), e, e.__traceback__)
        if not self.failed:
            self.failed = True
            told = "".join(traceback.format_exception(type(e), e, e.__traceback__))
            self._urgent(
                {
                    "event": "error",
                    "error": _text(describe(e), _MAX_FIELD),
                    "kind": _text(type(e).__name__, _MAX_FIELD),
                    "traceback": _text(told, _MAX_TEXT),
                }
            )

    def _status(self, status: int) -> None:
        if status == _IDLE:
            self._ready = True
            self._urgent({"event": "ready", "name": _text(self.name, _MAX_FIELD)})
        elif status == _SHUTDOWN:
            self._urgent({"event": "state", "state": "stopping"})
        elif status == _ERROR:
            # CommonService reports this status while it handles the exception that it caught, after it has
            # logged it with its traceback to stderr.
            e = sys.exc_info()[1]
            self.error(e or RuntimeError("the service reported an error"), show=False)

    def _log(self, record: logging.LogRecord) -> None:
        try:
            data = protocol.encode(log_event(record, self._dropped))
            self._channel.send(data, socket.MSG_DONTWAIT)
        except (OSError, ProtocolError):  # full, or the supervisor is gone
            self._dropped += 1
        else:
            self._dropped = 0
        if self.pass_on:
            self.pass_on(record)

    def _urgent(self, message: protocol.Message) -> None:
        data = protocol.encode(message)
        deadline = time.monotonic() + _SEND_TIMEOUT
        poller = select.poll()
        poller.register(self._channel, select.POLLOUT)
        while True:
            try:
                self._channel.send(data, socket.MSG_DONTWAIT)
                return
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0:
                    sys.stderr.write(f"the supervisor does not read; lost {message}\n")
                    return
                poller.poll(left * 1000)
            except OSError:
                return  # the supervisor is gone, and this process with it soon


class Commands:
    """What the service receives from its frontend: the command to shut down, after a drain.

    CommonService polls in a thread of its own. It asks for at most a second; waiting until there is
    something is as good, for the thread has nothing else to do, and an idle worker never wakes up.

    Args:
        channel: to the supervisor.
        wake: read end of the pipe that signal handlers and Frontend write to.
        drain: makes the transport hand out nothing more.
        limit: called with new limits (max_messages, max_rss) for this worker.
    """

    def __init__(
        self,
        channel: socket.socket,
        wake: int,
        drain: Callable[[], None],
        limit: Callable[[protocol.Message], None],
    ) -> None:
        self._channel = channel
        self._wake = wake
        self._drain_transport = drain
        self._limit = limit
        self._draining = False
        self._pending: deque[dict[str, Any]] = deque()
        self._poller = select.poll()
        self._poller.register(channel, select.POLLIN)
        self._poller.register(wake, select.POLLIN)

    def poll(self, timeout: float | None = None) -> bool:  # noqa: ARG002  see above
        """Wait for a command; a channel that is closed ends the process."""
        while not self._pending:
            for descriptor, _ in self._poller.poll():
                if descriptor == self._wake:
                    if DRAIN & set(os.read(self._wake, 64)):
                        self._drain()
                else:
                    self._read()
        return True

    def recv(self) -> dict[str, Any]:
        """Return the command that `poll` has announced."""
        return self._pending.popleft()

    def _read(self) -> None:
        try:
            data = self._channel.recv(protocol.MAX_MESSAGE)
        except OSError as e:
            # Not the supervisor's doing: a service has closed descriptors that are not its own.
            sys.stderr.write(f"ending: the channel to the supervisor cannot be read: {e.strerror}\n")
            data = b""
        if not data:
            # The supervisor is gone or has given this worker up. What it holds is delivered again to
            # another; going on would handle it twice.
            os._exit(protocol.CUT_OFF)
        try:
            message = protocol.decode(data)
        except ProtocolError as e:
            sys.stderr.write(f"ignored a message of the supervisor: {e}\n")
            return
        if message.get("do") == "drain":
            self._drain()
        elif message.get("do") == "limits":
            self._limit(message)

    def _drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            self._drain_transport()
        except Exception as e:  # the service must stop all the same
            sys.stderr.write(f"the transport cannot drain: {describe(e)}\n")
        self._pending.append({"band": "command", "payload": "shutdown"})


DRAIN = frozenset(b"\0\x0f")  # bytes on the wake pipe that mean drain: ours, and the number of SIGTERM


def log_event(record: logging.LogRecord, dropped: int) -> protocol.Message:
    """Return the message for a log record, within bounds whatever the service has put into it."""
    text = record.getMessage()
    if record.exc_text:
        text = f"{text}\n{record.exc_text}"
    fields = [(k, v) for k, v in vars(record).items() if k not in _STANDARD_FIELDS][:_MAX_FIELDS]
    return {
        "event": "log",
        "level": record.levelno,
        "logger": _text(record.name, _MAX_FIELD),
        "message": _text(text, _MAX_TEXT),
        "time": record.created,
        "extra": {_text(k, 128): SHOWN if is_secret(k) else _plain(v) for k, v in fields},
        "where": [_plain(record.pathname), record.lineno, _plain(record.funcName)],
        "dropped": dropped,
    }


def _plain(value: Any) -> Any:
    if value is None or type(value) is bool or (type(value) is float and math.isfinite(value)):
        return value
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    try:
        return _text(str(value), _MAX_FIELD)
    except Exception:  # a __str__ that raises must not cost the log record
        return f"<{type(value).__name__}>"


def _text(text: str, limit: int) -> str:
    """Return text that UTF-8 carries in `limit` bytes: without its middle if need be."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > limit:
        half = limit // 2 - 40
        cut = len(data) - 2 * half
        data = data[:half] + f"\n[... {cut} bytes left out ...]\n".encode() + data[-half:]
    return data.decode("utf-8", "ignore")
