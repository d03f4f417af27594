"""The control socket: takes clients in, says who they are, and lets nobody crowd out the others."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zocalo_daemon.control.connection import Connection
from zocalo_daemon.control.request import Peer, Request
from zocalo_daemon.control.roles import Rights
from zocalo_daemon.errors import Unavailable, ZocaloError
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import encode
from zocalo_daemon.supervision.handover import Leaving, Taking

MAX_CLIENTS = 256
RESERVED = 16  # of them, for the role admin
ACCEPTS_PER_TURN = 16
SO_PEERGROUPS = 59  # asm-generic/socket.h, since Linux 4.13; the socket module has no name for it
_CREDENTIALS = struct.Struct("3i")
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ControlServer:
    """Serves a listening socket from the loop of `selector`, which calls `key.data(mask)`.

    Args:
        listener: bound and listening; closing it stays with the caller.
        version: of the daemon, for the hello.
        rights_of: from uid, gid, pid and supplementary groups of a peer to what it may do.
        handler: is given each request that the role allows; answers it now or later, may raise ZocaloError.
        log: is told one line for every change that somebody asks for, and for every refusal.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        *,
        version: str,
        rights_of: Callable[[int, int, int, tuple[int, ...]], Rights],
        handler: Callable[[Request], None],
        log: Callable[[str], None],
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._version = version
        self._rights_of = rights_of
        self._handler = handler
        self._log = log
        self._max_clients = max_clients
        self._reserved = min(RESERVED, max_clients // 4)
        self._clients: dict[Connection, None] = {}  # in the order of their arrival
        self._listening = self._leaving = False
        # Given up for a moment to accept and turn away a client when no descriptor is left: a listener that
        # stays readable would make the loop spin.
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        listener.setblocking(False)
        self.resume()

    def __len__(self) -> int:
        return len(self._clients)

    def resume(self) -> None:
        """Accept again, if that was given up for lack of descriptors. Cheap: call it when some were freed."""
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if not self._listening and not self._leaving and self._spare is not None:
            self._listening = True
            self._selector.register(self._listener, selectors.EVENT_READ, self.ready)

    def leave(self) -> None:
        """Take in nobody more; those who are in stay."""
        self._leaving = True
        self._pause()

    def unheard(self) -> bool:
        """Return whether there is a client that has not said anything yet."""
        return not all(client.greeted for client in self._clients)

    def close(self) -> None:
        """Close every client and leave the selector."""
        self._pause()
        for client in list(self._clients):
            client.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def ready(self, _mask: int) -> None:
        """Take in the clients that wait; called by the loop when the listener is readable."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, _address = self._listener.accept()
            except OSError as e:
                if e.errno in _NO_DESCRIPTORS:
                    self._turn_away()
                return  # nobody waits any more, or the client has gone already
            try:
                self._admit(sock)
            except OSError:  # it has gone between accept and the questions about it
                sock.close()

    def _admit(self, sock: socket.socket) -> None:
        peer = peer_of(sock)
        rights = self._rights_of(peer.uid, peer.gid, peer.pid, peer.groups)
        limit = self._max_clients if rights.whole == "admin" else self._max_clients - self._reserved
        if len(self._clients) >= limit:
            self._evict()
        full = len(self._clients) >= limit
        client = self._connect(sock, peer, rights)
        if full:
            client.refuse(Unavailable(f"{limit} clients are connected, which is the limit: try again later"))

    def _connect(self, sock: socket.socket, peer: Peer, rights: Rights) -> Connection:
        client = Connection(
            sock,
            self._selector,
            peer,
            rights,
            version=self._version,
            handler=self._handler,
            log=self._log,
            on_close=self._forget,
        )
        self._clients[client] = None
        return client

    def hand_over(self, leaving: Leaving) -> list[dict[str, Any]]:
        """Return what `take_over` makes the same clients of."""
        return [client.hand_over(leaving) for client in self._clients]

    def take_over(
        self,
        clients: list[dict[str, Any]],
        taking: Taking,
        resume: Callable[[Request, dict[str, Any] | None], None],
    ) -> None:
        """Go on with the clients of the old code."""
        for state in clients:
            sock = taking.socket(state["socket"])
            self._connect(sock, state["peer"], state["rights"]).take_over(state, resume)

    def _evict(self) -> None:
        """Close the oldest client that has not even said hello, if there is one."""
        for client in self._clients:
            if not client.greeted:
                client.refuse(Unavailable("no hello came, and others wait"))
                return

    def _forget(self, client: Connection) -> None:
        self._clients.pop(client, None)
        if client.pieces:  # no `send` will follow
            with contextlib.suppress(ZocaloError):
                self._handler(Request(client, 0, "piece", {}))
        self.resume()

    def _turn_away(self) -> None:
        """Answer one client although no descriptor is left, or stop listening until one is closed."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        with contextlib.suppress(OSError):
            sock, _address = self._listener.accept()
            with sock:
                sock.setblocking(False)
                problem = Unavailable("the daemon has no file descriptor left: raise LimitNOFILE")
                sock.send(encode(control.error(0, problem)))
        self.resume()
        if self._spare is None:
            self._pause()

    def _pause(self) -> None:
        if self._listening:
            self._listening = False
            self._selector.unregister(self._listener)


def peer_of(sock: socket.socket) -> Peer:
    """Return who is at the other end of a Unix socket.

    Raises:
        OSError: it is not connected any more.
    """
    pid, uid, gid = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    try:
        # Python lends at most 1024 bytes to getsockopt; a peer of more than 256 groups counts as one of none.
        packed = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
    except OSError:
        packed = b""
    groups = struct.unpack(f"{len(packed) // 4}I", packed)
    return Peer(uid, gid, pid, groups, _command_of(pid))


def _command_of(pid: int) -> str:
    """Return the short name of a process, for the log only: it is the process's own word (proc(5), comm)."""
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return "?"
    return "".join(c if c.isprintable() else "?" for c in name.decode(errors="replace").strip())
