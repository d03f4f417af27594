"""Cuts a stream of bytes into STOMP frames (pure)."""

from __future__ import annotations

import re

LIMIT = 160 * 1024 * 1024  # bytes of one frame; ActiveMQ itself takes 100 MiB

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:(\d{1,12})\r?\n")


class Unreadable(Exception):
    """What comes is no STOMP."""


class Splitter:
    """Collects bytes until frames are complete.

    A body ends after `content-length` bytes, or without that header at the first NUL; between frames there
    may be line ends, which are heart-beats.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._needed = 0  # bytes in the buffer before it is worth another look
        self._searched = 0  # bytes of a body without a length that hold no NUL

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are complete, without the NUL at their ends.

        Raises:
            Unreadable: a frame over the limit, or one that does not end where it says.
        """
        buffer = self._buffer
        buffer += data
        if len(buffer) > self._limit:
            raise Unreadable(f"a frame over {self._limit} bytes")
        found: list[bytes] = []
        start = 0
        while len(buffer) >= self._needed:
            while start < len(buffer) and buffer[start] in b"\r\n":
                start += 1
            end = self._end(start)
            if end is None:
                break
            found.append(bytes(buffer[start:end]))
            start = end + 1
            self._needed = self._searched = 0
        if start:
            del buffer[:start]
            self._needed = max(0, self._needed - start)
            self._searched = max(0, self._searched - start)
        return found

    def _end(self, start: int) -> int | None:
        buffer = self._buffer
        head = _HEAD_END.search(buffer, start)
        if head is None:
            return None
        length = _LENGTH.search(buffer, start, head.start() + 2)
        if length is None:
            end = buffer.find(0, max(head.end(), self._searched))
            self._searched = len(buffer)
            return end if end >= 0 else None
        end = head.end() + int(length[1])
        if end > start + self._limit:
            raise Unreadable(f"a frame over {self._limit} bytes")
        if len(buffer) <= end:
            self._needed = end + 1
            return None
        if buffer[end] != 0:
            raise Unreadable("a frame that is longer than it says")
        return end
