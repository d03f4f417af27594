"""What processes and the daemon itself say: kept for `zocaloctl logs`, passed on to where the log goes.

Nothing here can block: pipes are drained in bounded portions, each source keeps a bounded number of lines and
bytes, and an outlet gets only what it takes at once; what is dropped is counted, and the count is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgpack

from zocalo_daemon.supervision.outlets import MAX_LINE, LogMessage, Outlet

PORTION = 16 * 1024  # bytes read from one pipe per turn of the loop: a flood must not starve the others
KEEP_LINES = 400  # per source
KEEP_BYTES = 64 * 1024  # per source
LAST_TIME = 253402300799  # the end of the year 9999: localtime(3) takes a few more

Item = dict[str, Any]  # {"time", "id", "level", "text"}, and "fields" if the message has some
Fields = Mapping[str, Any]


class LineSplitter:
    """Turns portions of output into lines of bounded length; `rest` is a line that has not ended yet."""

    def __init__(self, rest: bytes = b"") -> None:
        self.rest = rest

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now."""
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        while len(self.rest) > MAX_LINE:
            lines.append(self.rest[:MAX_LINE])
            self.rest = self.rest[MAX_LINE:]
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def end(self) -> list[str]:
        """Return the last line if it had no end."""
        rest, self.rest = self.rest, b""
        return [rest.decode(errors="replace")] if rest else []


class Ring:
    """The latest lines: at most so many, and so many bytes.

    Clients wait while the code of the supervisor is replaced, and the lines of many services would take
    longer than all else. So once they were packed, which is first done for the rehearsal, they are unpacked
    when somebody needs them.

    Args:
        packed: what `hand_over` has returned.
    """

    def __init__(
        self, most_lines: int = KEEP_LINES, most_bytes: int = KEEP_BYTES, packed: bytes = b""
    ) -> None:
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._items: deque[Item] = deque()
        self._size = 0
        self._packed = packed

    @property
    def items(self) -> deque[Item]:
        """The lines, oldest first."""
        if packed := self._packed:
            self._packed = b""
            for item in msgpack.unpackb(packed):
                self.add(item)
        return self._items

    def add(self, item: Item) -> None:
        """Take in a line, and forget the oldest ones."""
        items = self.items
        items.append(item)
        self._size += _size(item)
        while len(items) > self._most_lines or self._size > self._most_bytes:
            self._size -= _size(items.popleft())

    def hand_over(self) -> bytes:
        """Return all lines, for another ring."""
        if not self._packed:
            self._packed = msgpack.packb(list(self._items))
            self._items.clear()
            self._size = 0
        return self._packed


def _size(item: Item) -> int:
    fields = item.get("fields")
    return len(item["text"]) + (sum(len(key) + len(str(fields[key])) for key in fields) if fields else 0)


class LogBook:
    """The latest lines of every source, and who follows them.

    Args:
        clock: wall time in seconds, for people to read; nothing is decided by it.
        outlet: gets every message, or None.
    """

    def __init__(self, clock: Callable[[], float], outlet: Outlet | None) -> None:
        self._rings: dict[str, Ring] = {}
        self._followers: dict[int, Callable[[Item], None]] = {}
        self._clock = clock
        self._outlet = outlet
        self._dropped = 0
        self.besides: Callable[[LogMessage], None] | None = None  # gets what no service has logged itself

    def direct(self, outlet: Outlet | None) -> None:
        """Pass messages on to another outlet from now on; where nothing was passed on, nothing is."""
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = outlet

    def add(
        self,
        source: str,
        level: int,
        text: str,
        said_at: float | None = None,
        *,
        tail: Ring | None = None,
        fields: Fields | None = None,
        more: Fields | None = None,
    ) -> None:
        """Take note of one message; of several lines each is kept as one, in `tail` too.

        Args:
            fields: of the message; they are kept with each line.
            more: fields that only the outlet gets; None for what no service has logged itself.
        """
        when = self._clock() if said_at is None else said_at
        message = LogMessage(source, level, text, when, {**(fields or {}), **(more or {})})
        for line in message.lines():
            item: Item = {"time": when, "id": source, "level": level, "text": line}
            if fields:
                item["fields"] = fields
            ring = self._rings.get(source)
            if ring is None:
                ring = self._rings[source] = Ring()
            ring.add(item)
            if tail is not None:
                tail.add(item)
            for follow in list(self._followers.values()):
                follow(item)
        self._pass_on(message)
        if self.besides and more is None:
            self.besides(message)

    def add_record(
        self,
        source: str,
        record: Mapping[str, Any],
        tail: Ring | None = None,
        fields: Fields | None = None,
        more: Fields | None = None,
    ) -> None:
        """Take note of what another process logged: `level`, `message`, `time`, whatever these may be."""
        level, when = record.get("level"), record.get("time")
        known = max(0, level) if type(level) is int else 20
        usable = isinstance(when, (int, float)) and 0 <= when <= LAST_TIME
        text = str(record.get("message", ""))
        said_at = when if usable else None
        self.add(source, known, text, said_at, tail=tail, fields=fields, more=more)

    def latest(self, sources: Callable[[str], bool], count: int) -> list[Item]:
        """Return the latest `count` lines of the sources that are asked for, by time."""
        items = [item for source, ring in self._rings.items() if sources(source) for item in ring.items]
        items.sort(key=lambda item: item["time"])
        return items[-count:] if count > 0 else []

    def follow(self, key: int, follower: Callable[[Item], None] | None) -> None:
        """Call `follower` with every new line from now on; None ends that."""
        if follower is None:
            self._followers.pop(key, None)
        else:
            self._followers[key] = follower

    def keep_only(self, sources: Iterable[str]) -> None:
        """Forget the sources that no longer exist."""
        wanted = set(sources)
        for source in [source for source in self._rings if source not in wanted]:
            del self._rings[source]

    def hand_over(self) -> dict[str, Any]:
        """Return every line that is kept, as plain data."""
        # Without standard error, another descriptor may have its number.
        return {
            "out": self._outlet is not None,
            "dropped": self._dropped,
            "rings": {name: ring.hand_over() for name, ring in self._rings.items()},
        }

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Keep the lines of the old code, the newer ones behind them."""
        newer, self._dropped = self._rings, state["dropped"]
        self._outlet = self._outlet if state["out"] else None
        self._rings = {source: Ring(packed=packed) for source, packed in state["rings"].items()}
        for source, ring in newer.items():
            for item in ring.items:
                self._rings.setdefault(source, Ring()).add(item)

    def _pass_on(self, message: LogMessage) -> None:
        if self._outlet is None:
            return
        if self._dropped:
            news = f"{self._dropped} messages dropped here: too many at once"
            if not self._outlet.write(LogMessage("zocalod", 30, news, message.when)):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._outlet.write(message):
            self._dropped += 1


class EventBook:
    """The latest events of the daemon, and who follows them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._items: deque[Item] = deque(maxlen=1000)
        self._followers: dict[int, Callable[[Item], None]] = {}
        self._clock = clock

    def add(self, event: str, instance: str, text: str, data: dict[str, Any]) -> None:
        """Take note of an event."""
        item: Item = {"time": self._clock(), "event": event, "id": instance, "text": text, **data}
        self._items.append(item)
        for follow in list(self._followers.values()):
            follow(item)

    def hand_over(self) -> list[Item]:
        """Return every event that is kept, as plain data."""
        return list(self._items)

    def take_over(self, items: Iterable[Item]) -> None:
        """Keep the events of the old code, the newer ones behind them."""
        newer = list(self._items)
        self._items.clear()
        self._items.extend([*items, *newer])

    def latest(self, instances: Callable[[str], bool], count: int) -> list[Item]:
        """Return the latest `count` events of the instances that are asked for."""
        return [item for item in self._items if instances(item["id"])][-count:] if count > 0 else []

    def follow(self, key: int, follower: Callable[[Item], None] | None) -> None:
        """Call `follower` with every new event from now on; None ends that."""
        if follower is None:
            self._followers.pop(key, None)
        else:
            self._followers[key] = follower
