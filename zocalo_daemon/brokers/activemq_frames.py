"""STOMP frames from bytes and to bytes (pure).

stomp.py can do both, and takes a third of the relay's time for it: a regular expression or several for each
header line. https://stomp.github.io/stomp-specification-1.2.html has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

LIMIT = 160 * 1024 * 1024  # bytes of one frame; ActiveMQ itself takes 100 MiB

_HEAD_END = re.compile(rb"\n\r?\n")
_SPECIAL = re.compile(r"[\\\n:\r]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c", "\r": "\\r"})
_ESCAPED = re.compile(r"\\[\\ncr]")
_MEANINGS = {"\\\\": "\\", "\\n": "\n", "\\c": ":", "\\r": "\r"}


class Unreadable(Exception):
    """What comes is no STOMP."""


class Frame(NamedTuple):
    """A frame: its command, its headers with nothing escaped, and its body."""

    command: str
    headers: dict[str, str]
    body: bytes


def escaped(text: str) -> str:
    """Return text as a header carries it."""
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


def encode(command: str, headers: Mapping[str, object], body: bytes = b"") -> bytes:
    """Return the bytes of a frame; names of headers must be escaped already."""
    lines = [f"{key}:{escaped(str(value))}\n" for key, value in headers.items()]
    return b"%b\n%b\n%b\0" % (command.encode(), "".join(lines).encode(), body)


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

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete.

        Raises:
            Unreadable: a frame over the limit, or one that does not end where it says.
            ValueError: a head that is no UTF-8, or a length that is no number.
        """
        buffer = self._buffer
        buffer += data
        if len(buffer) > self._limit:
            raise Unreadable(f"a frame over {self._limit} bytes")
        found: list[Frame] = []
        start = 0
        while len(buffer) >= self._needed:
            while start < len(buffer) and buffer[start] in b"\r\n":
                start += 1
            head = _HEAD_END.search(buffer, start)
            if head is None:
                break
            command, headers = _head(buffer[start : head.start()].decode())
            end = self._end(head.end(), headers.get("content-length"))
            if end is None:
                break
            found.append(Frame(command, headers, bytes(buffer[head.end() : end])))
            start = end + 1
            self._needed = self._searched = 0
        if start:
            del buffer[:start]
            self._needed = max(0, self._needed - start)
            self._searched = max(0, self._searched - start)
        return found

    def _end(self, start: int, length: str | None) -> int | None:
        """Return where the body ends that starts here, None if that has not come."""
        buffer = self._buffer
        if length is None:
            end = buffer.find(0, max(start, self._searched))
            self._searched = len(buffer)
            return end if end >= 0 else None
        size = int(length)
        if not 0 <= size <= self._limit:
            raise Unreadable(f"a frame over {self._limit} bytes")
        end = start + size
        if len(buffer) <= end:
            self._needed = end + 1
            return None
        if buffer[end] != 0:
            raise Unreadable("a frame that is longer than it says")
        return end


def _head(text: str) -> tuple[str, dict[str, str]]:
    command, *lines = (text.replace("\r\n", "\n").removesuffix("\r") if "\r" in text else text).split("\n")
    headers: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        if key not in headers:  # the first one counts
            headers[key] = value
    if "\\" in text:
        headers = {_plain(key): _plain(value) for key, value in headers.items()}
    return command, headers


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    if "\\\\" in text:
        return _ESCAPED.sub(lambda found: _MEANINGS[found[0]], text)
    return text.replace("\\c", ":").replace("\\n", "\n").replace("\\r", "\r")
