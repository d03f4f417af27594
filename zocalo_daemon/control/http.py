"""A small HTTP/1.1 server on the supervisor's loop: one GET for each connection (RFC 9112).

Nobody can make the loop wait: a request is read and an answer written as far as the socket goes, requests
are bounded, and connections in number and time. The bodies of answers are shared, not copied.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

MAX_REQUEST = 8 * 1024  # bytes
MAX_CLIENTS = 8  # the oldest has to go when another one comes
PATIENCE = 10.0  # seconds for one connection, from its first byte to its last
PORTION = 256 * 1024  # bytes written in one turn of the loop
PAUSE = 1.0  # seconds without accepting, when there is no descriptor left

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_REASONS |= {431: "Request Header Fields Too Large", 503: "Service Unavailable"}


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    kind: str  # of the body, as Content-Type says it
    body: bytes


class HttpServer:
    """Serves a listening socket from the loop of `selector`, which calls `key.data(mask)`.

    Args:
        listener: bound and listening; it is closed with the server.
        after: calls a function after some seconds.
        answer: from the path of a request to its answer.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        after: Callable[[float, Callable[[], None]], None],
        answer: Callable[[str], Answer],
    ) -> None:
        self._listener, self._selector = listener, selector
        self._after, self._answer = after, answer
        self._clients: dict[_Client, float] = {}  # in the order of their arrival, with their deadlines
        self._sweeping = False
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Close the listener and every client."""
        for client in list(self._clients):
            client.close()
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._listener)
        self._listener.close()

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            self._selector.register(self._listener, selectors.EVENT_READ, self._ready)

    def _ready(self, _mask: int) -> None:
        try:
            sock, _address = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # a listener that stays readable would make the loop spin
            self._selector.unregister(self._listener)
            self._after(PAUSE, self._listen)
            return
        if len(self._clients) >= MAX_CLIENTS:
            next(iter(self._clients)).close()
        client = _Client(sock, self._selector, self._answer, self._forget)
        self._clients[client] = time.monotonic() + PATIENCE
        self._watch()

    def _forget(self, client: _Client) -> None:
        self._clients.pop(client, None)

    def _watch(self) -> None:
        if not self._sweeping and self._clients:
            self._sweeping = True
            self._after(max(0.0, next(iter(self._clients.values())) - time.monotonic()), self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = time.monotonic()
        for client in [client for client, deadline in self._clients.items() if deadline <= now]:
            client.close()
        self._watch()


class _Client:
    """One connection: a request, its answer, and then nothing until the peer hangs up.

    To close at once what the peer still writes to would reset the connection, and lose the answer.
    """

    def __init__(
        self,
        sock: socket.socket,
        selector: selectors.BaseSelector,
        answer: Callable[[str], Answer],
        forget: Callable[[_Client], None],
    ) -> None:
        self._sock, self._selector, self._answer, self._on_close = sock, selector, answer, forget
        self._request = b""
        self._output: list[memoryview] = []
        self._answered = False
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, self._ready)

    def close(self) -> None:
        """Hang up."""
        self._output.clear()
        self._selector.unregister(self._sock)
        self._sock.close()
        self._on_close(self)

    def _ready(self, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ and not self._read():
                self.close()
            elif self._output:
                self._write()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def _read(self) -> bool:
        data = self._sock.recv(MAX_REQUEST)
        if data and not self._answered:
            self._request += data
            if (made := _respond(self._request, self._answer)) is not None:
                self._answered, self._request = True, b""
                self._output = [memoryview(part) for part in made if part]
                self._selector.modify(self._sock, selectors.EVENT_READ | selectors.EVENT_WRITE, self._ready)
        return bool(data)

    def _write(self) -> None:
        part = self._output[0]
        sent = self._sock.send(part[:PORTION])
        self._output[:1] = [part[sent:]] if sent < len(part) else []
        if not self._output:
            self._selector.modify(self._sock, selectors.EVENT_READ, self._ready)
            self._sock.shutdown(socket.SHUT_WR)


def _respond(request: bytes, answer: Callable[[str], Answer]) -> tuple[bytes, bytes] | None:
    """Return head and body of the answer to a request; None while it is not whole."""
    head, end, _ = request.partition(b"\r\n\r\n")
    if len(head) > MAX_REQUEST:
        made = _refusal(431)
    elif not end:
        return None
    else:
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            made = _refusal(400)
        elif words[0] not in (b"GET", b"HEAD"):
            made = _refusal(405)
        else:
            made = answer(words[1].partition(b"?")[0].decode("latin-1"))
    lines = (
        f"HTTP/1.1 {made.status} {_REASONS[made.status]}",
        f"Content-Type: {made.kind}",
        f"Content-Length: {len(made.body)}",
        *(("Allow: GET, HEAD",) if made.status == 405 else ()),
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode(), b"" if head.startswith(b"HEAD ") else made.body


def _refusal(status: int) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{_REASONS[status]}\n".encode())
