"""The way to a Graylog server: handlers for `logging` that never wait for it.

graypy, which zocalo uses, connects and looks up names in the thread that logs: a server that is away would
hold up every message of every service. It has had no release since 2019, and an interpreter of the site
need not have it.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import socket
import sys
import threading
import time
import zlib
from typing import Any

from zocalo_daemon.site import gelf

KEPT = 1000  # records that wait while the server is away
FLUSH = 1.0  # seconds that the end of a worker may wait for what is under way
_TIMEOUT = 5.0  # seconds to connect, and for the server to take a record
_LOOK_UP = 60.0  # seconds that an address counts; datagrams do not show that the server has moved
_RETRY = (1.0, 60.0)  # seconds between attempts, at first and at most


class GraylogHandler(logging.Handler):
    """Hands records to a thread, which is started by the first of them: after the fork of a worker.

    Args:
        protocol: "UDP" or "TCP".
    """

    def __init__(self, protocol: str, host: str, port: int) -> None:
        super().__init__()
        self._where = (protocol, host, int(port))
        self._sender: _Sender | None = None
        self._pid = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; never blocks, and never raises."""
        try:
            text = self.format(record) if self.formatter else record.getMessage()
            data = gelf.encode(record, text, socket.gethostname())
            if self._sender is None or self._pid != os.getpid():
                self._sender, self._pid = _Sender(*self._where), os.getpid()  # a fork copies no thread
            self._sender.post(data)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait a moment for what is on its way, unless the server is away."""
        if self._sender is not None and self._pid == os.getpid():
            self._sender.flush()

    def __repr__(self) -> str:
        protocol, host, port = self._where
        return f"<GraylogHandler {protocol} {host}:{port}>"


class _Sender(threading.Thread):
    """Sends what is posted, in order; keeps a bounded number while the server is away."""

    def __init__(self, protocol: str, host: str, port: int) -> None:
        super().__init__(name=f"Graylog {host}:{port}", daemon=True)
        self._tcp = protocol == "TCP"
        self._host, self._port = host, port
        self._queue: queue.Queue[bytes] = queue.Queue(KEPT)
        self._socket: socket.socket | None = None
        self._address: Any = None
        self._until = 0.0  # clock, of the address
        self._away = False
        self._dropped = 0
        self.start()

    def post(self, data: bytes) -> None:
        """Queue one record, or count it as dropped."""
        try:
            self._queue.put_nowait(data)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until everything is sent, for a bounded time."""
        end = time.monotonic() + FLUSH
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and not self._away and time.monotonic() < end:
                self._queue.all_tasks_done.wait(0.05)

    def run(self) -> None:
        """Send, one after the other, until the process ends."""
        while True:
            data = self._queue.get()
            wait, longest = _RETRY
            while not self._sent(data):
                time.sleep(wait)
                wait = min(2 * wait, longest)
            self._queue.task_done()

    def _sent(self, data: bytes) -> bool:
        try:
            self._send(data)
        except OSError as e:
            if self._socket:
                self._socket.close()
                self._socket = None
            if not self._away:
                self._away = True
                self._say(f"is away ({e.strerror or e}): {KEPT} log records at most wait for it")
            return False
        if self._away:
            self._away = False
            self._say(f"is back; {self._dropped} log records were dropped")
            self._dropped = 0
        return True

    def _send(self, data: bytes) -> None:
        if self._tcp:
            self._stream().sendall(data + b"\0")
            return
        sender = self._datagrams()
        for chunk in gelf.chunks(zlib.compress(data), os.urandom(8)):
            sender.sendto(chunk, self._address)

    def _stream(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((self._host, self._port), _TIMEOUT)
        elif _has_ended(self._socket):
            raise ConnectionResetError(0, "it has closed the connection")
        return self._socket

    def _datagrams(self) -> socket.socket:
        if self._socket is None or time.monotonic() > self._until:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, self._address = found[0]
            if self._socket is not None:
                self._socket.close()
            # Not connected: a port where nobody listens is then no error, as on any other machine.
            self._socket = socket.socket(family, kind, protocol)
            self._until = time.monotonic() + _LOOK_UP
        return self._socket

    def _say(self, text: str) -> None:
        sys.stderr.write(f"Graylog {self._host}:{self._port} {text}\n")


def _has_ended(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection, which it never writes to."""
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    return bool(poller.poll(0)) and not connection.recv(1)


def udp_handler(*, host: str, port: int) -> GraylogHandler:
    """Return what stands for zocalo's factory GraylogUDPHandler."""
    return GraylogHandler("UDP", host, port)


def tcp_handler(*, host: str, port: int) -> GraylogHandler:
    """Return what stands for zocalo's factory GraylogTCPHandler."""
    return GraylogHandler("TCP", host, port)
