"""stomp.py, and all that is stomp.py's: one STOMP 1.2 connection, driven by a Loop.

stomp.py logs in; activemq_frames has the frames that follow. The socket is a Stream, so that everything
that one turn of the relay's loop has to say leaves in one write. A receiver thread, which stomp.py would
have, would wake the relay for every message.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from zocalo_daemon.brokers.activemq_frames import Frame, Splitter, Unreadable, encode
from zocalo_daemon.brokers.loop import Callback, Loop
from zocalo_daemon.brokers.stream import CLOSED, CONNECT_TIMEOUT, Stream

# Or the import would ask the name server for this machine's names.
os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")

from stomp import utils
from stomp.protocol import Protocol12

HEARTBEAT = 10.0  # seconds, either way
PATIENCE = 3  # heart-beats without a byte, after which a connection is lost


class _Wire:
    """What Protocol12 asks of a transport, to log in."""

    def __init__(self, stream: Stream, host: str) -> None:
        self._stream = stream
        self.vhost = host
        self.current_host_and_port = (host, 0)

    def transmit(self, frame: Any) -> None:
        self._stream.write(b"".join(utils.convert_frame(frame)))

    def set_listener(self, name: str, listener: Any) -> None:
        """Heart-beats are ours: stomp.py's need a thread."""


class Connection:
    """A connection from the first attempt to its end.

    Args:
        host: HOST:PORT.
        settings: vhost, username and password.
        on_up: called when frames can be sent.
        on_down: called once with a reason for people, before or after `on_up`.
        on_frame: takes every frame but CONNECTED.

    Attributes:
        server: how the broker calls itself, with its version.
    """

    def __init__(
        self,
        loop: Loop,
        host: str,
        settings: Mapping[str, Any],
        tls: ssl.SSLContext | None,
        *,
        on_up: Callback,
        on_down: Callable[[str], None],
        on_frame: Callable[[Frame], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._on_up, self._on_down, self._on_frame = on_up, on_down, on_frame
        self._splitter = Splitter()
        self._heard = loop.clock()
        self._beat = self._silence = 0.0  # seconds; 0 for none
        self._ended = False
        self.server = ""
        name, _, port = host.rpartition(":")
        name = name.strip("[]")
        self._stream = Stream(
            loop, (name, int(port)), tls, on_up=self._greet, on_data=self._take, on_lost=self._lost
        )
        self._protocol = Protocol12(_Wire(self._stream, settings.get("vhost") or "/"))
        self._timer = loop.call_later(2 * CONNECT_TIMEOUT, lambda: self._end("it does not speak STOMP"))

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return self._stream.pending

    def flush(self) -> None:
        """Write what there is."""
        self._stream.flush()

    def close(self) -> None:
        """Say goodbye; what was sent before is answered before it."""
        self.send("DISCONNECT", {"receipt": "goodbye"})

    def abandon(self) -> None:
        """End it at once and silently."""
        self._ended = True
        self._loop.cancel(self._timer)
        self._stream.close()

    def send(self, command: str, headers: Mapping[str, object], body: bytes = b"") -> None:
        """Send a frame; header names must be escaped already."""
        self._stream.write(encode(command, headers, body))

    # -- Beginning and end

    def _greet(self) -> None:
        milliseconds = int(HEARTBEAT * 1000)
        self._protocol.connect(
            self._settings.get("username"),
            self._settings.get("password"),
            headers={"heart-beat": f"{milliseconds},{milliseconds}"},
            with_connect_command=True,
        )

    def _connected(self, frame: Frame) -> None:
        self.server = frame.headers.get("server", "")
        theirs = (frame.headers.get("heart-beat") or "0,0").split(",")
        milliseconds = int(HEARTBEAT * 1000)
        out, into = utils.calculate_heartbeats(theirs, (milliseconds, milliseconds))
        self._beat, self._silence = out / 1000, into / 1000 * PATIENCE
        self._loop.cancel(self._timer)
        if self._beat or self._silence:
            self._schedule()
        self._on_up()

    def _lost(self, reason: str) -> None:
        if not self.server and reason == CLOSED:
            reason = "it closed the connection before it spoke STOMP: is it ending, or does it want TLS?"
        self._end(reason)

    def _end(self, reason: str) -> None:
        if not self._ended:
            self.abandon()
            self._on_down(reason)

    # -- Heart-beats

    def _schedule(self) -> None:
        # Twice as often as promised: a timer is late by what the relay is doing.
        every = min(one for one in (self._beat / 2, self._silence / 4) if one)
        self._timer = self._loop.call_later(every, self._look)

    def _look(self) -> None:
        if self._silence and self._loop.clock() - self._heard > self._silence:
            self._end("the broker sent no heart-beat")
            return
        if self._beat:
            self._stream.write(b"\n")
            self._stream.flush()
        self._schedule()

    # -- What comes

    def _take(self, data: bytes) -> None:
        self._heard = self._loop.clock()
        try:
            for frame in self._splitter.feed(data):
                if not self._ended:
                    self._handle(frame)
        except (Unreadable, ValueError) as e:
            self._end(f"bad data: {e}")

    def _handle(self, frame: Frame) -> None:
        if self.server or frame.command not in ("CONNECTED", "ERROR"):
            if frame.headers.get("receipt-id") == "goodbye":
                self._end("goodbye")
            else:
                self._on_frame(frame)
        elif frame.command == "CONNECTED":
            self._connected(frame)
        else:
            self._end(self._refusal(frame))

    def _refusal(self, frame: Frame) -> str:
        text = frame.headers.get("message", "") or "no reason given"
        if any(
            word in text.lower()
            for word in ("password", "login", "authenticat", "user name", "access refused")
        ):
            return f"the broker refuses user '{self._settings.get('username') or ''}' or its password"
        return f"the broker refuses the connection: {text}"
