"""One of the two connections of a transport: made, lost, and made again at another host."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.brokers.loop import Callback, Loop, Timer
from zocalo_daemon.brokers.rabbitmq import Channel, Connection, Problem, parameters_of
from zocalo_daemon.brokers.rabbitmq_hosts import Hosts
from zocalo_daemon.errors import ZocaloError

CLOSING = 2.0  # seconds for a polite end

log = logging.getLogger(__name__)


class Peer:
    """A connection that is always there or on its way.

    Args:
        name: of the transport, for logs.
        purpose: "consume" or "publish".
        settings: of the transport.
        tls: None for plain TCP.
        on_up: called when channels can be opened.
        on_down: called when what was opened is gone.
    """

    def __init__(
        self,
        loop: Loop,
        name: str,
        purpose: str,
        *,
        settings: Mapping[str, Any],
        tls: ssl.SSLContext | None,
        hosts: Hosts,
        on_up: Callback,
        on_down: Callback,
    ) -> None:
        self._loop = loop
        self._name, self._purpose = name, purpose
        self._settings, self._tls, self._hosts = settings, tls, hosts
        self._on_up, self._on_down = on_up, on_down
        self._line: Connection | None = None
        self._timer: Timer | None = None
        self._closing = False
        self.host = ""
        self.problem = ""  # why it is not up
        self.next_attempt: float | None = None  # on the loop's clock; None while it tries
        self.up = False
        self.blocked = ""  # why the broker takes no messages for now

    def start(self) -> None:
        """Connect to the next host when its time has come."""
        self.host, delay = self._hosts.next()
        self.next_attempt = self._loop.clock() + delay
        self._timer = self._loop.call_later(delay, self._connect)

    def flush(self) -> None:
        """Write what there is."""
        if self._line is not None:
            self._line.flush()

    @property
    def pending(self) -> bool:
        """Whether there is something that `flush` would write."""
        return self.up and self._line is not None and self._line.pending

    def open_channel(self, on_open: Callable[[Channel], None], on_end: Callable[[Problem], None]) -> None:
        """Open a channel; `on_end` is called with code 0 if the connection is lost."""
        if self.up and self._line is not None:
            self._line.open_channel(on_open, on_end)

    def close(self) -> None:
        """End it for good, politely if that is quick."""
        self._closing = True
        if self._timer is not None:
            self._loop.cancel(self._timer)
        line = self._line
        if line is None:
            return
        if self.up:
            line.close()
            line.flush()
            deadline = self._loop.clock() + CLOSING
            while self._line is not None and self._loop.clock() < deadline:
                self._loop.turn(0.05)
                line.flush()
        line.abandon()

    def _connect(self) -> None:
        self._timer = self.next_attempt = None
        try:
            settings = with_password(self._settings)
        except ZocaloError as e:
            self._lost(e.message)
            return
        self._line = Connection(
            self._loop,
            parameters_of(self.host, settings, self._tls, f"zocalod {self._name} {self._purpose}"),
            on_up=self._opened,
            on_down=self._lost,
            on_blocked=self._set_blocked,
        )

    def _opened(self) -> None:
        if self.problem:
            log.info("%s: connected to %s (%s)", self._name, self.host, self._purpose)
        self.problem, self.up = "", True
        self._hosts.connected()
        self._on_up()

    def _lost(self, reason: str) -> None:
        was_up, self.up, self._line, self.blocked = self.up, False, None, ""
        if self._closing:
            return
        if reason != self.problem:
            log.warning("%s: %s: %s (%s)", self._name, self.host, reason, self._purpose)
        self.problem = reason
        if was_up:
            self._on_down()
        self._loop.call_soon(self.start)

    def _set_blocked(self, reason: str) -> None:
        if reason:
            log.warning("%s: %s takes no messages for now: %s", self._name, self.host, reason)
        else:
            log.info("%s: %s takes messages again", self._name, self.host)
        self.blocked = reason


def with_password(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings with the password of the file that they name, read anew for every connection.

    Raises:
        ZocaloError: it cannot be read.
    """
    file = settings.get("password_file")
    if not file:
        return settings
    try:
        return {**settings, "password": Path(file).read_text().strip()}
    except OSError as e:
        raise ZocaloError(f"cannot read the password file {file}: {e.strerror}") from None


def tls_context(settings: Mapping[str, Any] | None) -> ssl.SSLContext | None:
    """Return how to verify the broker, or None for plain TCP.

    Args:
        settings: ca, certificate, key, verify.

    Raises:
        ZocaloError: a file cannot be used.
    """
    if settings is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.get("ca"))
        if settings.get("certificate"):
            context.load_cert_chain(settings["certificate"], settings.get("key"))
    except OSError as e:  # ssl.SSLError is one
        named = ", ".join(str(settings[key]) for key in ("ca", "certificate", "key") if settings.get(key))
        raise ZocaloError(f"the TLS files {named} cannot be used: {e.strerror or e}") from None
    if not settings.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
