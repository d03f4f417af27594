"""Which messages workers have died of, and how often (pure but for `read` and `save`).

A message is known by its transport, its queue and a digest of headers and body: no driver keeps a number of
its own over a restart of the relay, or of the broker. A copy of a message counts with it. The count ends when
the message is accepted, or goes to the dead letters.

    crashed     a worker has died of it
    delivered   it may be one of those: remember which delivery it is
    settled     one of them was accepted or rejected: forget it

The counts are in a small file, so that they outlive the relay and the daemon. It is not synced: what
a power cut takes from a count is one more crash.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
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
    """

    file: Path | None = None
    watched: dict[tuple[str, int], Message] = field(default_factory=dict)  # by transport and tag
    _crashes: dict[Message, list[int]] = field(default_factory=dict)  # who was blamed last stands last
    _sizes: dict[tuple[str, str], set[int]] = field(default_factory=dict)  # of bodies, by transport and queue
    _changed: bool = False

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._crashes)

    def crashed(
        self, transport: str, queue: str, headers: Mapping[str, Any], body: bytes, report: int
    ) -> list[int]:
        """A worker has died of this message; return the reports of all who have."""
        message = identify(transport, queue, headers, body)
        crashes = [*self._crashes.pop(message, ()), report]
        self._crashes[message] = crashes
        self._sizes.setdefault((transport, queue), set()).add(message.size)
        while len(self._crashes) > MOST:
            self._forget(next(iter(self._crashes)))
        self._changed = True
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

    def _forget(self, message: Message) -> None:
        self._changed |= self._crashes.pop(message, None) is not None
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
            for *message, crashes in json.loads(self.file.read_text())["messages"]:
                transport, queue, size, digest = message
                self._crashes[Message(transport, queue, size, digest)] = list(map(int, crashes))
                self._sizes.setdefault((transport, queue), set()).add(size)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, TypeError, KeyError) as e:
            return f"{self.file} cannot be read ({type(e).__name__}): crashes are counted afresh"
        return ""

    def save(self) -> str:
        """Write the file if anything has changed; return why that was not possible, or ""."""
        if not self._changed or self.file is None:
            return ""
        self._changed = False
        new = self.file.with_suffix(".new")
        text = json.dumps({"messages": [[*message, crashes] for message, crashes in self._crashes.items()]})
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            new.replace(self.file)
        except OSError as e:
            with contextlib.suppress(OSError):
                new.unlink()
            return f"{self.file} cannot be written: {e.strerror}"
        return ""


def identify(transport: str, queue: str, headers: Mapping[str, Any], body: bytes) -> Message:
    """Return what a message is known by."""
    # Not before a worker has died: it brings OpenSSL, 1.5 MiB that most relays never need.
    import hashlib  # noqa: PLC0415

    kept = sorted((str(name), value) for name, value in headers.items() if name not in VARYING)
    digest = hashlib.sha256(msgpack.packb(kept, default=str))
    digest.update(body)
    return Message(transport, queue, len(body), digest.hexdigest()[:32])
