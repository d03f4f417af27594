"""Publications to one exchange, on a channel of their own with confirms.

An exchange that does not exist ends the channel on which somebody sent to it (404), with all that is on its
way there. So each exchange has a lane: what ends it concerns only what goes the same way. Whatever a lost
connection leaves unconfirmed is sent again, in order: once too often rather than never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zocalo_daemon.brokers.rabbitmq import Channel, Problem
from zocalo_daemon.brokers.rabbitmq_clerk import MISSING
from zocalo_daemon.brokers.rabbitmq_confirms import Confirms, Entry
from zocalo_daemon.brokers.rabbitmq_peer import RabbitPeer

REFUSED = 403
UNHEARD = 5.0  # seconds for which broadcasts to an exchange that is not there are not even sent

Refusal = tuple[str, str]  # code as in Refused, and reason
Resolve = Callable[[Entry, Refusal | None], None]


class Lane:
    """The way to one exchange, "" being the default one.

    Args:
        clock: monotonic seconds.
        resolve: called once for each entry, with None when it is safe.
    """

    def __init__(self, exchange: str, peer: RabbitPeer, clock: Callable[[], float], resolve: Resolve) -> None:
        self._exchange = exchange
        self._peer, self._clock, self._resolve = peer, clock, resolve
        self._channel: Channel | None = None
        self._opening = False
        self._waiting: deque[Entry] = deque()
        self._confirms = Confirms()
        self._careful = False  # one at a time, to find out which one the broker does not take
        self._unheard_until = 0.0

    @property
    def unconfirmed(self) -> int:
        """How many entries are not resolved."""
        return len(self._waiting) + len(self._confirms)

    def publish(self, entry: Entry) -> None:
        """Send a message."""
        if not entry.mandatory and self._clock() < self._unheard_until:
            self._resolve(entry, None)  # a broadcast that nobody can hear
            return
        self._waiting.append(entry)
        self.flush()

    def flush(self) -> None:
        """Send what waits, if the broker takes it."""
        if not self._waiting or self._peer.blocked or not self._peer.up:
            return
        if self._channel is None:
            if not self._opening:
                self._opening = True
                self._peer.open_channel(self._opened, self._ended)
            return
        while self._waiting and not (self._careful and len(self._confirms)):
            entry = self._waiting.popleft()
            try:
                self._channel.send(
                    entry.exchange, entry.key, entry.body, entry.properties, mandatory=entry.mandatory
                )
            except ValueError as e:
                self._resolve(entry, ("invalid", str(e)))
            else:
                self._confirms.add(entry)

    def down(self) -> None:
        """The connection is gone."""
        self._channel, self._opening = None, False
        self._waiting.extendleft(reversed(self._confirms.reset()))

    def _opened(self, channel: Channel) -> None:
        channel.on_confirm(self._confirmed, self._confirms.mark_returned)
        self._channel, self._opening = channel, False
        self.flush()

    def _confirmed(self, number: int, multiple: bool, safe: bool) -> None:
        for entry in list(self._confirms.take(number, multiple)):
            if entry.returned:
                self._resolve(entry, None if not entry.mandatory else ("unroutable", unroutable(entry)))
            elif safe:
                self._resolve(entry, None)
            else:
                reason = (
                    f"the broker could not store a message for '{entry.key or entry.exchange}': is it full?"
                )
                self._resolve(entry, ("full", reason))
        if self._careful:
            self._careful = bool(self._waiting or len(self._confirms))
            self.flush()

    def _ended(self, problem: Problem) -> None:
        code, text = problem
        self.down()
        if not code:
            return
        if code in (MISSING, REFUSED):
            self._refuse_all(code, text)
        elif self._careful and self._waiting:
            self._resolve(self._waiting.popleft(), ("invalid", text))
        else:
            self._careful = True
        self.flush()

    def _refuse_all(self, code: int, text: str) -> None:
        entries, self._waiting = self._waiting, deque()
        if code == MISSING:
            self._unheard_until = self._clock() + UNHEARD
        for entry in entries:
            if code == MISSING and not entry.mandatory:
                self._resolve(entry, None)  # a broadcast that nobody listens to
            elif code == MISSING:
                self._resolve(entry, ("unroutable", f"there is no exchange '{self._exchange}'"))
            else:
                self._resolve(entry, ("invalid", text))


def unroutable(entry: Entry) -> str:
    """Return why a message came back, for people."""
    if entry.exchange:
        return f"the exchange '{entry.exchange}' leads messages for '{entry.key}' to no queue"
    if entry.key.startswith("transient."):
        return f"the temporary queue '{entry.key}' is gone"
    return f"there is no queue '{entry.key}'"
