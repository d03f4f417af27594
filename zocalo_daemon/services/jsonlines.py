"""JSONLines: appends each message to the file that its recipe names, one JSON object per line.

Messages are collected and written in batches: one write and one fsync for up to 100 of them. They are
acknowledged after the fsync, so that neither the death of the service nor of its host loses a line; after
one, lines of the last batch may stand twice.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zocalo_daemon.services.envelope import Rejected, kind
from zocalo_daemon.services.recipe_service import RecipeService

QUEUE = "jsonlines"
BATCH = 100  # messages, also what the service may have unsettled
MAX_WAIT = 1.0  # seconds that a message waits for others


@dataclass(frozen=True)
class Target:
    """Where a recipe wants its messages, and which keys of them; an empty `include` means all."""

    path: Path
    include: frozenset[str]
    exclude: frozenset[str]


def target_of(wrapper: Any) -> Target:
    """Return what the recipe asks for.

    Raises:
        Rejected: there is no recipe, or its parameters make no sense.
    """
    if wrapper is None:
        raise Rejected("the message is in no recipe, nothing says which file it is for")
    parameters = wrapper.recipe_step.get("parameters")
    if not isinstance(parameters, dict):
        raise Rejected(f"the recipe's parameters must be an object, not {kind(parameters)}")
    path = _path(parameters.get("output_filename"))
    return Target(path, _keys(parameters, "include"), _keys(parameters, "exclude"))


def line_of(message: Any, target: Target) -> bytes:
    """Return the line of a message.

    Raises:
        Rejected: it is no JSON object.
    """
    if not isinstance(message, dict):
        raise Rejected(f"a message for a file must be a JSON object, this is {kind(message)}")
    chosen = {
        key: value
        for key, value in message.items()
        if (not target.include or key in target.include) and key not in target.exclude
    }
    try:
        return json.dumps(chosen).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as e:
        raise Rejected(f"the message cannot be written as JSON: {e}") from None


def append(path: Path, data: bytes) -> None:
    """Append whole lines to a file, on disk when this returns; directories are made as needed.

    What a full disk cuts short is taken back. A torn line that a crash has left is closed first, so that
    it does not spoil the next one.

    Raises:
        OSError: nothing was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    # Without O_NONBLOCK, the open would wait for the reader of a pipe.
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(0, "it is no file, but a directory or a device")
        torn = info.st_size > 0 and os.pread(descriptor, 1, info.st_size - 1) != b"\n"
        _write(descriptor, b"\n" + data if torn else data, info.st_size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        _sync_directory(path.parent)


def _write(descriptor: int, data: bytes, size: int) -> None:
    written = 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError:
        if os.fstat(descriptor).st_size == size + written:  # else somebody else writes here too
            os.ftruncate(descriptor, size)
        raise


def _sync_directory(directory: Path) -> None:
    """Make the name of a new file durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class JSONLines(RecipeService):
    """Collects messages by file and writes them; see the module."""

    _service_name = "JSON Lines"
    _logger_name = "zocalo.service.jsonlines"

    def initializing(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Subscribe; exclusively, so that a file has one writer however many instances run."""
        self._clock = clock
        self._waiting: dict[Path, list[tuple[dict[str, Any], bytes]]] = {}
        self._count = 0
        self._since = 0.0  # when the oldest of them came
        self._register_idle(MAX_WAIT, self.write_waiting)
        self._transport.subscribe(
            QUEUE, self.receive, acknowledgement=True, exclusive=True, prefetch_count=BATCH
        )

    def receive(self, header: dict[str, Any], message: Any) -> None:
        """Take one delivery; write what waits if it is enough or has waited long enough.

        The idle timer alone would not do: it never fires while messages trickle in faster than it.
        """
        super().receive(header, message)
        if self._count and (self._count >= BATCH or self._clock() - self._since >= MAX_WAIT):
            self.write_waiting()

    def process(self, wrapper: Any, header: dict[str, Any], message: Any) -> None:
        """Keep a message until it is written."""
        target = target_of(wrapper)
        line = line_of(message, target)
        if not self._count:
            self._since = self._clock()
        self._waiting.setdefault(target.path, []).append((header, line))
        self._count += 1

    def write_waiting(self) -> None:
        """Write and settle what waits. A file that cannot be written concerns its own lines only."""
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for path, entries in waiting.items():
            try:
                append(path, b"".join(line for _, line in entries))
            except OSError as e:
                reason = f"cannot write {path}: {e.strerror}"
                self.log.error("Rejected %d messages: %s", len(entries), reason)
                settle = partial(self._transport.nack, reason=reason)
            else:
                self.log.info("Wrote %d messages to %s", len(entries), path)
                settle = self._transport.ack
            for header, _ in entries:
                settle(header)

    def in_shutdown(self) -> None:
        """Write what waits, unless it could not be settled: then it will be delivered again."""
        if self._transport.is_connected():
            self.write_waiting()


def _path(name: Any) -> Path:
    if not isinstance(name, str) or not name:
        raise Rejected(f"the recipe's output_filename must be a path, not {kind(name) if name else 'empty'}")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        name = ""
    if not name.startswith("/") or "\0" in name:  # the daemon stands in no directory that a recipe could mean
        raise Rejected("the recipe's output_filename must be a whole path, one that begins with /")
    return Path(name)


def _keys(parameters: dict[str, Any], name: str) -> frozenset[str]:
    keys = parameters.get(name) or []
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Rejected(f"the recipe's {name} must be a list of keys")
    return frozenset(keys)
