"""A connection to a broker's port: name, TCP, TLS, bytes in and out, none of which ever blocks the loop."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from zocalo_daemon.brokers.loop import READ, WRITE, Loop

CONNECT_TIMEOUT = 10.0  # seconds for name, TCP and TLS together
CLOSED = "the broker closed the connection"
CHUNK = 64 * 1024  # bytes read at once
READS = 16  # at one wake-up: the relay's other descriptors have their turn too
LINGER = 20  # seconds without an answer to what was sent, after which TCP gives up (tcp(7))

_OTHER_NAME, _OTHER_ADDRESS = 62, 64  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH (x509_vfy.h)
_REASONS = {
    errno.ECONNREFUSED: "connection refused; does the broker run, and on this port?",
    errno.ETIMEDOUT: "no answer; is the host up, and the way to it open?",
}
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stream:
    """One attempt to connect, and the connection that comes of it.

    Args:
        address: host and port.
        tls: None for plain TCP.
        on_up: called once bytes can flow.
        on_data: called with what has arrived.
        on_lost: called once, with the reason for people, unless `close` was called first.
    """

    def __init__(
        self,
        loop: Loop,
        address: tuple[str, int],
        tls: ssl.SSLContext | None,
        *,
        on_up: Callable[[], None],
        on_data: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._host, self._port = address
        self._tls = tls
        self._on_up, self._on_data, self._on_lost = on_up, on_data, on_lost
        self._socket: socket.socket | None = None
        self._addresses: list[Any] = []
        self._output: list[bytes] = []
        self._up = False
        self._closed = False
        self._wanted = 0
        self._timer = loop.call_later(CONNECT_TIMEOUT, self._late)
        # getaddrinfo(3) knows no other way than to block.
        threading.Thread(target=self._resolve, name=f"resolve {self._host}", daemon=True).start()

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._output)

    def write(self, data: bytes) -> None:
        """Have bytes sent by the next `flush`."""
        self._output.append(data)

    def flush(self) -> None:
        """Write what there is; the rest follows when the socket takes it."""
        if not self._up or self._socket is None or not self._output:
            return
        data = b"".join(self._output)
        try:
            sent = self._socket.send(data)
        except _AGAIN:
            sent = 0
        except OSError as e:
            self._lose(_reason(e))
            return
        self._output = [data[sent:]] if sent < len(data) else []
        self._want(READ | (WRITE if self._output else 0))

    def close(self) -> None:
        """End it; nothing is called back any more."""
        self._closed = True
        self._loop.cancel(self._timer)
        self._drop()

    # -- Connecting

    def _resolve(self) -> None:
        try:
            found: list[Any] = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as e:  # the reason is resolved to text here: exceptions carry their frames along
            self._loop.call_soon(
                partial(self._lose, f"unknown host {self._host}: {e.strerror}; check the name")
            )
            return
        self._loop.call_soon(partial(self._resolved, found))

    def _resolved(self, found: list[Any]) -> None:
        if not self._closed:
            self._addresses = found
            self._next_address("no address")

    def _next_address(self, reason: str) -> None:
        self._drop()
        if not self._addresses:
            self._lose(reason)
            return
        family, kind, protocol, _, address = self._addresses.pop(0)
        made = self._socket = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LINGER * 1000)
        error = made.connect_ex(address)
        if error not in (0, errno.EINPROGRESS):
            self._next_address(_reason(OSError(error, os.strerror(error))))
            return
        self._wanted = WRITE
        self._loop.add(made.fileno(), WRITE, self._connected)

    def _connected(self, _events: int) -> None:
        assert self._socket is not None
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._next_address(_reason(OSError(error, os.strerror(error))))
            return
        self._loop.remove(self._socket.fileno())
        if self._tls is not None:
            try:
                self._socket = self._tls.wrap_socket(
                    self._socket, server_hostname=self._host, do_handshake_on_connect=False
                )
            except OSError as e:
                self._lose(_reason(e))
                return
        self._wanted = READ | WRITE
        self._loop.add(self._socket.fileno(), self._wanted, self._handshake)
        self._handshake(0)

    def _handshake(self, _events: int) -> None:
        made = self._socket
        assert made is not None
        if isinstance(made, ssl.SSLSocket):
            try:
                made.do_handshake()
            except ssl.SSLWantReadError:
                self._want(READ)
                return
            except ssl.SSLWantWriteError:
                self._want(WRITE)
                return
            except OSError as e:
                self._lose(_reason(e))
                return
        self._loop.cancel(self._timer)
        self._loop.remove(made.fileno())
        self._wanted = READ
        self._loop.add(made.fileno(), READ, self._ready)
        self._up = True
        self._on_up()
        self.flush()

    # -- Connected

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        for _ in range(READS):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(CHUNK)
                # A broker that writes small pieces (Nagle) waits for our acknowledgement, and the kernel
                # delays that by 40 ms unless it is told each time (tcp(7)).
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            except _AGAIN:
                return
            except OSError as e:
                self._lose(_reason(e))
                return
            if not data:
                self._lose(CLOSED)
                return
            self._on_data(data)
            if len(data) < CHUNK and not isinstance(self._socket, ssl.SSLSocket):
                return  # there is no more for now
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            self._loop.call_soon(partial(self._ready, 0))  # decrypted already: nothing would wake the loop

    def _want(self, events: int) -> None:
        if self._socket is not None and events != self._wanted:
            self._wanted = events
            self._loop.change(self._socket.fileno(), events)

    # -- The end

    def _drop(self) -> None:
        if self._socket is not None:
            self._loop.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._up = False

    def _late(self) -> None:
        reason = f"no answer within {CONNECT_TIMEOUT:g} s"
        greeted = isinstance(self._socket, ssl.SSLSocket)
        self._lose(f"TLS: {reason}: does this port speak TLS?" if greeted else reason)

    def _lose(self, reason: str) -> None:
        if self._closed:
            return
        self.close()
        self._on_lost(reason)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        name = error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS)
        advice = "write the host as its certificate does" if name else "tls.ca must name who has signed it"
        message = error.verify_message.rstrip(".")
        return f"TLS: the broker's certificate is not to be trusted: {message}; {advice}"
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "TLS: what answers on this port speaks none; give the port for TLS, or leave out tls"
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)
