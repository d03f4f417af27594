"""Which messages workers have died of, and how often (pure but for `read` and `save`).

A message is known by its transport, its queue and a digest of headers and body: no driver keeps a number of
its own over a restart of the relay, or of the broker. A copy of a message counts with it. The count ends when
the message is accepted, or goes to the dead letters.

    crashed     a worker has died of it
    delivered   it may be one of those: remember which delivery it is
    settled     one of them was accepted or rejected: forget it

The counts are in a small file, so that they outlive the relay and the daemon. It is not synced: what
a power cut takes from a count is one more crash. Several relays share the file: each takes over what the
others have written (`look`), and adds its own under a lock. A count is written before the message goes back
to its broker, and so before another relay can deliver it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from zocalo_daemon.brokers.base import Outcome, Settlement

MOST = 1000  # messages; of more, the one that was blamed longest ago is forgotten
VARYING = ("x-delivery-count",)  # headers that a broker changes with every delivery


class Message(NamedTuple):
    """What a message is known by; `size` is that of its body."""

    transport: str
    queue: str
    size: int
    digest: str


@dataclass(slots=True)
class Poison:
    """Messages and the crash reports that blame them; number 0 stands for a crash without a report.

    Args:
        file: where they are kept, or None.
        shared: other relays have the same file.
    """

    file: Path | None = None
    shared: bool = False
    watched: dict[tuple[str, int], Message] = field(default_factory=dict)  # by transport and tag
    _crashes: dict[Message, list[int]] = field(default_factory=dict)  # who was blamed last stands last
    _sizes: dict[tuple[str, str], set[int]] = field(default_factory=dict)  # of bodies, by transport and queue
    _deeds: list[tuple[Message, int | None]] = field(default_factory=list)  # not written yet; None: forgotten
    _stamp: tuple[int, int] = (0, 0)  # of the file, as it was read or written last

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._crashes)

    def crashed(
        self, transport: str, queue: str, headers: Mapping[str, Any], body: bytes, report: int
    ) -> list[int]:
        """A worker has died of this message; return the reports of all who have."""
        message = identify(transport, queue, headers, body)
        self._blame(message, report)
        crashes = self._crashes[message]
        while len(self._crashes) > MOST:
            self._forget(next(iter(self._crashes)))
        return crashes

    def delivered(
        self, transport: str, queue: str, tag: int, headers: Mapping[str, Any], body: bytes
    ) -> None:
        """A message is on its way to a worker."""
        if len(body) in self._sizes.get((transport, queue), ()):
            message = identify(transport, queue, headers, body)
            if message in self._crashes:
                self.watched[transport, tag] = message

    def settled(self, transport: str, settlement: Settlement) -> None:
        """A delivery was settled."""
        message = self.watched.pop((transport, settlement.tag), None)
        if message in self._crashes and settlement.outcome in (Outcome.ACCEPT, Outcome.REJECT):
            self._forget(message)

    def forget(self, transport: str, queue: str, headers: Mapping[str, Any], body: bytes) -> None:
        """A message has gone to the dead letters: whoever sends it back gives it another chance."""
        self._forget(identify(transport, queue, headers, body))

    def _blame(self, message: Message, report: int) -> None:
        self._crashes[message] = [*self._crashes.pop(message, ()), report]
        self._sizes.setdefault((message.transport, message.queue), set()).add(message.size)
        self._deeds.append((message, report))

    def _forget(self, message: Message) -> None:
        if self._crashes.pop(message, None) is not None:
            self._deeds.append((message, None))
        place = (message.transport, message.queue)
        sizes = {other.size for other in self._crashes if (other.transport, other.queue) == place}
        if sizes:
            self._sizes[place] = sizes
        else:
            self._sizes.pop(place, None)

    # -- The file

    def read(self) -> str:
        """Read the file, if there is one; return what is wrong with it, in which case it counts as empty."""
        if self.file is None:
            return ""
        try:
            about = self.file.stat()
            self._stamp = about.st_ino, about.st_mtime_ns
            for *message, crashes in json.loads(self.file.read_text())["messages"]:
                transport, queue, size, digest = message
                self._crashes[Message(transport, queue, size, digest)] = list(map(int, crashes))
                self._sizes.setdefault((transport, queue), set()).add(size)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, TypeError, KeyError) as e:
            return f"{self.file} cannot be read ({type(e).__name__}): crashes are counted afresh"
        return ""

    def look(self) -> None:
        """Take over what other relays have written since; called before anything is delivered."""
        if not self.shared or self.file is None:
            return
        try:
            about = self.file.stat()
        except OSError:
            return
        if self._stamp == (about.st_ino, about.st_mtime_ns):
            return
        deeds, self._deeds = self._deeds, []
        self._crashes.clear()
        self._sizes.clear()
        self.read()
        for message, report in deeds:
            if report is None:
                self._forget(message)
            else:
                self._blame(message, report)

    def save(self) -> str:
        """Write the file if anything has changed; return why that was not possible, or ""."""
        if not self._deeds or self.file is None:
            return ""
        try:
            with self._locked():
                self.look()
                self._deeds.clear()
                return self._write(self.file)
        except OSError as e:
            return f"{self.file} cannot be written: {e.strerror}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self.file is None or not self.shared:
            yield
            return
        lock = os.open(self.file.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, place: Path) -> str:
        new = place.with_suffix(".new")
        text = json.dumps({"messages": [[*message, crashes] for message, crashes in self._crashes.items()]})
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            about = new.stat()
            self._stamp = about.st_ino, about.st_mtime_ns
            new.replace(place)
        except OSError as e:
            with contextlib.suppress(OSError):
                new.unlink()
            return f"{place} cannot be written: {e.strerror}"
        return ""


def identify(transport: str, queue: str, headers: Mapping[str, Any], body: bytes) -> Message:
    """Return what a message is known by."""
    # Not before a worker has died: it brings OpenSSL, 1.5 MiB that most relays never need.
    import hashlib  # noqa: PLC0415

    kept = sorted((str(name), value) for name, value in headers.items() if name not in VARYING)
    digest = hashlib.sha256(msgpack.packb(kept, default=str))
    digest.update(body)
    return Message(transport, queue, len(body), digest.hexdigest()[:32])
