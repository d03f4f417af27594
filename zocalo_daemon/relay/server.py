"""The relay's one loop: the listening socket, the transports, the link and the brokers."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.relay.channel import Channel, peer
from zocalo_daemon.relay.cluster import Cluster
from zocalo_daemon.relay.deaths import Death, Deaths
from zocalo_daemon.relay.figures import Figures
from zocalo_daemon.relay.line import Closed
from zocalo_daemon.relay.link import Link
from zocalo_daemon.relay.member import Member
from zocalo_daemon.relay.moves import Moves
from zocalo_daemon.relay.pool import Pool
from zocalo_daemon.relay.session import Session

REPORT_EVERY = 0.5  # seconds between figures, at the least
ACCEPT_PAUSE = 1.0  # seconds without accepting when there are no descriptors left
LAST_READS = 64  # of a dead worker's socket: more than it holds, and an end if a child of it still writes
FAREWELL = 2.0  # seconds to write what is left when the relay ends

Log = Callable[[int, str], None]


def may_connect(uid: int) -> bool:
    """Say whether a process of that user may use the relay: root and the daemon's own user."""
    return uid in (0, os.getuid())


class Server:
    """The loop.

    Args:
        listener: the listening socket, shared with the supervisor.
        pool: the brokers, open.
        epoch: which life of the relay this is.
        log: takes a level of logging and a line.
        deaths: sees to what dead workers held.
        moves: replaces members of the pool.
    """

    def __init__(
        self, listener: socket.socket, pool: Pool, epoch: int, log: Log, *, deaths: Deaths, moves: Moves
    ) -> None:
        listener.setblocking(False)
        self._listener, self._pool, self._epoch = listener, pool, epoch
        self._log, self._deaths, self._moves = log, deaths, moves
        self._timed: list[Deaths | Pool | Moves | Cluster] = [deaths, pool, moves]
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._accept_again_at: float | None = None
        self._sessions: dict[int, Session] = {}
        self._interest: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._link: Link | None = None
        self._leaving = False
        self._leave_by: float | None = None  # while it drains
        self._busy: set[Session] = set()  # something to write, or to be read again or no more
        self._figures = Figures()
        self._reported, self._figures_at = dict[str, Any](), float("-inf")
        self._changed = True  # something has happened since the figures were looked at

    def attach(self, link: Link) -> None:
        """Serve the supervisor's link."""
        self._link = link
        self._timed.append(link.cluster)
        self._selector.register(link, selectors.EVENT_READ, self._serve_link)

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back when a descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, lambda _mask: callback())

    def leave(self, drain: float = 0.0) -> None:
        """End the loop after this turn, or once nothing is in hand, at most `drain` seconds from now."""
        self._leaving = drain <= 0
        if drain > 0:
            self._leave_by = time.monotonic() + drain
            self._pool.drain()

    def forfeit(self, death: Death) -> dict[str, Any]:
        """A worker is dead: what it held goes back, unless it had still settled it; return what that was."""
        for session in [one for one in self._sessions.values() if one.pid == death.pid]:
            self._bury(session)
        return self._deaths.settle(death)

    def run(self) -> None:
        """Serve until `leave` is called or the link closes."""
        self._moves.attach(self._follow, self._catch_up, self._dismiss)
        for member in self._pool:
            self._follow(member)
        while not self._leaving:
            self.turn()
        self._finish()

    def _follow(self, member: Member) -> None:
        descriptor = member.broker.fileno()
        if descriptor is not None:
            self.watch(descriptor, lambda: None)  # poll follows every wait

    def _catch_up(self, member: Member) -> None:
        for session in list(member.sessions.values()):
            self._read_rest(session)

    def _dismiss(self, member: Member) -> None:
        """End the sessions of a member that is about to close; what they hold goes back."""
        for session in list(member.sessions.values()):
            self._write(session)  # what it was told last: it may be what its worker waits for
            self._drop(session)
        self._deaths.release(member)
        descriptor = member.broker.fileno()
        if descriptor is not None:
            self._selector.unregister(descriptor)

    def turn(self) -> None:
        """Wait for something, act on it, let the brokers work, write what came of it."""
        for key, mask in self._selector.select(self._timeout()):
            key.data(mask)
        now = time.monotonic()
        if self._accept_again_at is not None and now >= self._accept_again_at:
            self._accept_again_at = None
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        for part in self._timed:
            part.poll(now)
        busy, self._busy = self._busy, set()
        for session in busy:
            self._write(session)
        if self._leave_by is not None:
            self._leaving |= now >= self._leave_by or self._pool.is_idle
        self._changed = True  # a timer of a broker may have changed something too: its state, say
        self._report(now)
        self._write_link()

    def _timeout(self) -> float | None:
        now = time.monotonic()
        due = [self._leave_by, self._accept_again_at]
        if self._link is not None and self._changed:
            due.append(self._figures_at + REPORT_EVERY)
        times = [part.timeout(now) for part in self._timed]
        times += [max(0.0, one - now) for one in due if one is not None]
        return min((one for one in times if one is not None), default=None)

    # -- Transports

    def _accept(self, _mask: int) -> None:
        try:
            line, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # gone already
        except OSError as e:
            # No descriptors left: the listener would wake the loop without end, so look away for a while.
            self._log(logging.ERROR, f"a transport cannot connect: {e.strerror}")
            self._selector.unregister(self._listener)
            self._accept_again_at = time.monotonic() + ACCEPT_PAUSE
            return
        pid, uid, _gid = peer(line)
        if not (known := may_connect(uid)) and not self._pool.lets_in_strangers:
            self._log(logging.WARNING, f"user {uid} (pid {pid}) may not use the relay: connection closed")
            line.close()
            return
        session = Session(
            next(self._numbers),
            Channel(line),
            pid,
            enter=self._pool.enter if known else self._pool.enter_as_worker,
            epoch=self._epoch,
            log=self._log,
            busy=self._busy_now,
        )
        self._sessions[session.number] = session
        self._interest[session.number] = selectors.EVENT_READ
        self._selector.register(
            session.channel, selectors.EVENT_READ, lambda mask: self._serve(session, mask)
        )

    def _busy_now(self, session: Session) -> None:
        self._busy.add(session)

    def _serve(self, session: Session, mask: int) -> None:
        if session.number not in self._sessions:
            return
        self._busy.add(session)
        if not mask & selectors.EVENT_READ:
            return
        try:
            session.handle(session.channel.receive(), time.monotonic())
        except Closed:
            self._drop(session)
        except ProtocolError as e:
            self._log(logging.ERROR, f"connection of {session.name} closed: {e.message}")
            self._drop(session)

    def _write(self, session: Session) -> None:
        if session.number not in self._sessions:
            return
        channel = session.channel
        if channel.pending:
            session.turns += 1
            try:
                channel.flush()
            except Closed:
                self._bury(session)
                return
        wanted = selectors.EVENT_WRITE if channel.pending else 0
        wanted |= 0 if session.is_saturated else selectors.EVENT_READ
        if wanted != self._interest[session.number]:
            self._set_interest(session, wanted)

    def _set_interest(self, session: Session, wanted: int) -> None:
        # A selector takes no empty interest: a saturated session is taken out of it until it is confirmed.
        channel = session.channel
        before, self._interest[session.number] = self._interest[session.number], wanted
        if not wanted:
            self._selector.unregister(channel)
        elif not before:
            self._selector.register(channel, wanted, lambda mask: self._serve(session, mask))
        else:
            self._selector.modify(channel, wanted, lambda mask: self._serve(session, mask))

    def _bury(self, session: Session) -> None:
        """Drop a session whose process is dead, but first take what it had written.

        Its acks and sends wait in the socket, where the news of its death overtakes them.
        """
        self._read_rest(session)
        self._drop(session)

    def _read_rest(self, session: Session) -> None:
        with contextlib.suppress(Closed, ProtocolError):
            for _ in range(LAST_READS):
                session.handle(session.channel.receive(), time.monotonic())

    def _drop(self, session: Session) -> None:
        if self._sessions.pop(session.number, None) is None:
            return
        if self._interest.pop(session.number):
            self._selector.unregister(session.channel)
        self._deaths.ended(session, time.monotonic())

    # -- The supervisor

    def _serve_link(self, _mask: int) -> None:
        assert self._link is not None
        try:
            self._link.receive()
        except Closed:
            self._close_link()

    def _write_link(self) -> None:
        if self._link is None:
            return
        try:
            self._link.flush()
        except Closed:
            self._close_link()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._link.pending else 0)
        if self._selector.get_key(self._link).events != wanted:
            self._selector.modify(self._link, wanted, self._serve_link)

    def _close_link(self) -> None:
        if self._link is not None:
            self._selector.unregister(self._link)
            self._link = None
        self._leaving = True

    def _report(self, now: float) -> None:
        if self._link is None or not self._changed or now < self._figures_at + REPORT_EVERY:
            return
        self._changed, self._figures_at = False, now
        figures = self._figures.look(self._sessions.values(), self._pool, time.time())
        if figures != self._reported:
            self._reported = figures
            self._link.report({"report": "figures", **figures})

    # -- The end

    def _finish(self) -> None:
        """Let the brokers finish what was called, and write what came of it, within a bounded time."""
        for session in list(self._sessions.values()):
            self._drop(session)
        self._deaths.finish()
        self._pool.poll(time.monotonic())
        self._pool.close()
        if self._link is None:
            return
        deadline = time.monotonic() + FAREWELL
        with contextlib.suppress(Closed):
            while self._link.pending and time.monotonic() < deadline:
                self._link.flush()
                self._selector.select(0.05)
