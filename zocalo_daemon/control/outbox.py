"""What one client has not read yet: bounded, with the items of followers counted apart."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

MAX_CHUNKS = 12_000  # chunks that one client has not read: `zocaloctl logs` may ask for 10,000 at once
MAX_CHUNK_BYTES = 2 * 1024 * 1024


class Outbox:
    """Bytes that wait for a client; `size` is how many."""

    def __init__(self) -> None:
        self.size = 0
        self._waiting: deque[tuple[memoryview, bool]] = deque()  # (bytes, is it a chunk)
        self._chunks = 0
        self._chunk_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def behind(self, part: int, more: int = 0) -> bool:
        """Tell whether the unread chunks are over 1/part of what they may be."""
        return self._chunks >= MAX_CHUNKS // part or self._chunk_bytes + more > MAX_CHUNK_BYTES // part

    def push(self, data: bytes, is_chunk: bool = False) -> None:
        """Have bytes written by the next `write`."""
        self._waiting.append((memoryview(data), is_chunk))
        self.size += len(data)
        if is_chunk:
            self._chunks += 1
            self._chunk_bytes += len(data)

    def write(self, sock: socket.socket) -> None:
        """Write what the socket takes without waiting.

        Raises:
            OSError: the client is gone.
        """
        while self._waiting:
            try:
                sent = sock.sendmsg([self._waiting[i][0] for i in range(min(len(self._waiting), 64))])
            except (BlockingIOError, InterruptedError):
                return
            self._written(sent)

    def hand_over(self) -> list[Any]:
        """Return what `take_over` makes the same outbox of."""
        return [[bytes(data), is_chunk] for data, is_chunk in self._waiting]

    def take_over(self, waiting: list[Any]) -> None:
        """Go on with what the old code had not written."""
        for data, is_chunk in waiting:
            self.push(data, is_chunk)

    def _written(self, sent: int) -> None:
        self.size -= sent
        while sent:
            data, is_chunk = self._waiting[0]
            if is_chunk:
                self._chunk_bytes -= min(sent, len(data))
            if sent < len(data):
                self._waiting[0] = (data[sent:], is_chunk)
                return
            sent -= len(data)
            self._chunks -= is_chunk
            self._waiting.popleft()
