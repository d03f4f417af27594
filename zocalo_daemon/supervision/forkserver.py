"""One forkserver, seen from the supervisor: start it, ask it for workers, hear what it says.

A forkserver takes a bounded number of requests at a time; the others wait here, and the descriptors of a
worker are made only when its request is sent.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol.channel import MAX_MESSAGE, Message, decode, encode
from zocalo_daemon.supervision import process
from zocalo_daemon.supervision.handover import Leaving, Taking
from zocalo_daemon.values import Record, Value, field, made, parts

BOARD = 5  # the number of its descriptor in a forkserver
OUTSTANDING = 16  # fork requests on their way to one forkserver


class Request(Value):
    """A worker that is wanted: its number, instance, and what it is told (protocol/channel.py)."""

    serial: int
    instance: str
    worker: dict[str, Any]


class Descriptors(Record):
    """The supervisor's ends of what a worker inherits."""

    channel: socket.socket
    log: int


class Forkserver(Record):
    """A running forkserver and what is waiting for it.

    `error` says why it has failed, `unusable` that another attempt would fail too. `classes` is what it said
    of its services once it had loaded them: {service: {"class", "fingerprint"}} or {service: {"error"}}, and
    `warnings` what it has done without.
    """

    runtime: str
    pid: int
    pidfd: int
    channel: socket.socket
    log: int
    state: str = "starting"
    python: str = ""
    workflows: str = ""
    error: str = ""
    unusable: bool = False
    classes: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    waiting: deque[Request] = field(default_factory=deque)
    outstanding: set[int] = field(default_factory=set)

    def hand_over(self, leaving: Leaving) -> dict[str, Any]:
        """Return what `take_over` makes of it in the new code; one that has ended has no descriptors."""
        lives = self.pidfd >= 0
        ends = {"pidfd": leaving.keep(self.pidfd), "channel": leaving.keep(self.channel)} if lives else {}
        return {**parts(self, "pidfd", "channel", "log"), **ends}

    @classmethod
    def take_over(cls, state: Mapping[str, Any], taking: Taking) -> Forkserver:
        """Return the forkserver of the old code; its log pipe is watched by whoever calls this."""
        if "pidfd" in state:
            pidfd, end = taking.pidfd(state["pidfd"]), taking.socket(state["channel"])
            end.setblocking(False)
        else:
            pidfd, end = -1, _closed()
        return made(cls, {**state, "pidfd": pidfd, "channel": end, "log": -1})

    def loaded(self, message: Message) -> None:
        """It has imported its services, and says what it found."""
        self.state = "ready"
        self.classes = message.get("classes", {})
        self.warnings = list(message.get("warnings", ()))
        self.python = message.get("python", "")
        self.workflows = str(message.get("workflows", ""))

    def fail(self, error: str) -> None:
        """It cannot be used, and another attempt would fail too."""
        self.state, self.unusable = "failed", True
        self.error = f"runtime {self.runtime}: {error}"

    def class_error(self, service: str) -> str | None:
        """Return why workers of a service cannot be forked, or None."""
        if self.state == "failed":
            return self.error
        if self.state != "ready":
            return None
        known = self.classes.get(service)
        return f"runtime {self.runtime} does not know the service" if known is None else known.get("error")

    def take_unloadable(self) -> Iterator[tuple[int, str]]:
        """Take out what waits although its class cannot be loaded: serial and why."""
        for request in list(self.waiting):
            error = self.class_error(request.worker["service"])
            if error and request in self.waiting:  # a report may have come back here meanwhile
                self.waiting.remove(request)
                yield request.serial, error

    def withdraw(self, serial: int) -> None:
        """Take out a request, if it still waits."""
        for request in [request for request in self.waiting if request.serial == serial]:
            self.waiting.remove(request)

    def send_requests(self, opened: Callable[[Request, Descriptors], None]) -> OSError | None:
        """Send what waits, as far as the limit goes; `opened` gets the supervisor's ends of each worker.

        Returns:
            Why the first request that waits cannot be sent: no descriptors left, or the forkserver has gone.
        """
        while self.waiting and self.state == "ready" and len(self.outstanding) < OUTSTANDING:
            request = self.waiting[0]
            try:
                ends = _send(self.channel, request, len(self.outstanding))
            except OSError as e:
                return e
            if ends is None:
                break
            self.waiting.popleft()
            self.outstanding.add(request.serial)
            opened(request, ends)
        return None

    def receive(self) -> list[Message] | None:
        """Return the messages that have arrived; None if it has closed its end."""
        return receive(self.channel)


def receive(end: socket.socket, most: int = 32) -> list[Message] | None:
    """Return up to `most` messages of a channel; None once the other end is closed and all is read."""
    messages: list[Message] = []
    while len(messages) < most:
        try:
            data = end.recv(MAX_MESSAGE)
        except BlockingIOError:
            return messages
        except ConnectionResetError:
            data = b""
        if not data:
            return messages or None
        try:
            messages.append(decode(data))
        except ProtocolError as e:
            messages.append({"event": "garbage", "error": str(e)})
    return messages


def pending(end: socket.socket) -> bool:
    """Return whether a channel has a message that was not read yet."""
    try:
        return bool(end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def start(
    runtime: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    settings: Mapping[str, Any],
    board: int | None = None,
) -> Forkserver:
    """Start the forkserver of a runtime.

    Args:
        board: descriptor of the board that its workers note their progress on; None for one that forks none.

    Raises:
        OSError: the interpreter cannot be run.
    """
    more = {} if board is None else {BOARD: board}
    settings = {**settings, "board": board is not None}
    started = process.start_with(argv, env, settings, process.channel_pair(), more)
    return Forkserver(runtime, started.pid, started.pidfd, started.end, started.log)


def unstartable(runtime: str, error: str) -> Forkserver:
    """Return what stands for a forkserver whose interpreter cannot even be run."""
    server = Forkserver(runtime, 0, -1, _closed(), -1)
    server.fail(error)
    return server


def _closed() -> socket.socket:
    end = socket.socket(socket.AF_UNIX)
    end.close()
    return end


def terminate(forkserver: Forkserver) -> None:
    """End a forkserver at once, if it has not ended."""
    if forkserver.pidfd >= 0:
        process.send_signal(forkserver.pidfd, signal.SIGKILL)


def _send(end: socket.socket, request: Request, outstanding: int) -> Descriptors | None:
    """Send one request; return None if the channel is full.

    Args:
        outstanding: workers that will need a descriptor more each, as soon as their pids are known.

    Raises:
        OSError: no descriptors left, or the other end is closed.
    """
    read, write = process.log_pipe()
    ours, theirs = None, None
    try:
        ours, theirs = process.channel_pair()
        process.keep_some_free(theirs.fileno() + outstanding)
        message = {
            "do": "fork",
            "id": request.instance,
            "serial": request.serial,
            "worker": request.worker,
        }
        socket.send_fds(end, [encode(message)], [theirs.fileno(), write])
    except OSError as e:
        os.close(read)
        if ours:
            ours.close()
        if isinstance(e, BlockingIOError):
            return None
        raise
    finally:
        os.close(write)
        if theirs:
            theirs.close()
    return Descriptors(ours, read)
