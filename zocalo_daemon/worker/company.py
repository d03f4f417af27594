"""The transports of one process: a worker's own, and those that its service makes beside it.

A settlement on one says nothing about what was sent on another, and the barrier of the relay sees one
connection alone. So before a transport settles, it waits until what the others have sent is safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zocalo_daemon.protocol import worker as protocol

if TYPE_CHECKING:
    from zocalo_daemon.worker.connection import Connection
    from zocalo_daemon.worker.transport import RelayTransport


class Unseen:
    """What a transport has sent without waiting, and whether it can still be confirmed."""

    __slots__ = ("_losses", "_since")

    def __init__(self) -> None:
        self._losses = 0  # how many relays have gone
        self._since: int | None = None  # what that was at the first send which is not known to be safe

    def sent(self) -> None:
        """Something is sent (lock held): a relay that is lost from here on may take it along."""
        if self._since is None:
            self._since = self._losses

    def lose(self) -> None:
        """The relay is gone (lock held)."""
        self._losses += 1

    def make_safe(self, line: Connection) -> bool:
        """Wait until what was sent is safe; False if a relay was lost since.

        Raises:
            workflows.Disconnected: the transport was closed meanwhile.
        """
        since, self._since = self._since, None
        if since is None:
            return True
        line.ask([protocol.FLUSH, 0])
        return self._losses == since


class Company:
    """The transports that are connected, in the order in which they came; `first` is the worker's own.

    `socket` is where the others find all transports, if that is not the relay of the first one.
    """

    def __init__(self) -> None:
        self.first: Any = None
        self.socket: str | None = None
        self._connected: list[RelayTransport] = []

    def enter(self, transport: RelayTransport) -> None:
        """A transport is connected."""
        self._connected.append(transport)

    def leave(self, transport: RelayTransport) -> None:
        """A transport is no longer connected."""
        if transport in self._connected:
            self._connected.remove(transport)

    def others_are_safe(self, transport: RelayTransport) -> bool:
        """Wait until what the others have sent within callbacks is safe; False if some of it is lost.

        Raises:
            workflows.Disconnected: one of them was closed meanwhile.
        """
        if len(self._connected) < 2:
            return True
        # All are asked, or what one has lost would hide that another has too.
        return all([one.make_safe() for one in self._connected if one is not transport])

    def drain(self) -> None:
        """Stop taking messages from queues, whatever they come by."""
        for transport in self._beside():
            transport.drain()
        self.first.drain()

    def disconnect(self) -> None:
        """Disconnect those that a service has made beside the worker's own and left open."""
        for transport in self._beside():
            transport.disconnect()

    def _beside(self) -> list[RelayTransport]:
        return [one for one in self._connected if one is not self.first]


COMPANY = Company()
