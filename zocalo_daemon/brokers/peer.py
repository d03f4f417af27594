"""A connection of a transport to its broker: made, lost, and made again at another host."""

from __future__ import annotations

import abc
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from zocalo_daemon.brokers.hosts import Hosts, Troubles
from zocalo_daemon.brokers.loop import Callback, Loop, Timer
from zocalo_daemon.errors import ZocaloError

STEADY = 10.0  # seconds after which a connection is taken to last
CLOSING = 2.0  # seconds for a polite end

log = logging.getLogger(__name__)


class Line(Protocol):
    """A connection as the library of a driver makes it; it calls `opened` and, once, `lost` of its peer."""

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        ...

    def flush(self) -> None:
        """Write what there is."""
        ...

    def close(self) -> None:
        """Begin to end it politely; `lost` says when it has ended."""
        ...

    def abandon(self) -> None:
        """End it at once and silently."""
        ...


L = TypeVar("L", bound=Line)


class Peer(abc.ABC, Generic[L]):
    """A connection that is always there or on its way.

    Args:
        name: of the transport, for logs.
        purpose: "consume" or "publish".
        settings: of the transport.
        tls: None for plain TCP.
        troubles: shared by the connections of a transport, which mostly have the same.
        on_up: called when it can be used.
        on_down: called when it is gone, and what was out with it.
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
        troubles: Troubles,
        on_up: Callback,
        on_down: Callback,
    ) -> None:
        self._loop = loop
        self._name, self._purpose = name, purpose
        self._settings, self._tls = settings, tls
        self._hosts, self._troubles = hosts, troubles
        self._on_up, self._on_down = on_up, on_down
        self._line: L | None = None
        self._timer: Timer | None = None
        self._closing = False
        self.host = ""
        self.next_attempt: float | None = None  # on the loop's clock; None while it tries
        self.up = False

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

    def opened(self) -> None:
        """The line says that it can be used."""
        if self._troubles.clear():
            log.info("%s: connected to %s", self._name, self.host)
        self.up = True
        self._hosts.connected()
        self._timer = self._loop.call_later(STEADY, self._hosts.steady)
        self._on_up()

    def lost(self, reason: str) -> None:
        """The line says that it is gone, or that there is none."""
        was_up, self.up, self._line = self.up, False, None
        if self._closing:
            return
        if self._timer is not None:
            self._loop.cancel(self._timer)
        if self._troubles.note(self.host, reason):
            log.warning("%s: %s: %s", self._name, self.host, reason)
        if was_up:
            self._on_down()
        self._loop.call_soon(self.start)

    @abc.abstractmethod
    def _make(self, settings: Mapping[str, Any]) -> L:
        """Begin to connect to `host`."""

    def _connect(self) -> None:
        self._timer = self.next_attempt = None
        try:
            settings = with_password(self._settings)
        except ZocaloError as e:
            self.lost(e.message)
            return
        self._line = self._make(settings)


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
