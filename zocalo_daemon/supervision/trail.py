"""The supervisor's part of the trail (protocol/trail.py): what dead workers leave behind, and who asks.

To look for a recipe is to read files of many MiB, so it is done a file at a time, and the loop goes round
in between.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from zocalo_daemon import trail as file
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.protocol import trail as layout
from zocalo_daemon.supervision.board import Board
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.loop import Loop

MOST = 5000  # lines of one answer, the latest
MANY = 20  # recipes whose IDs begin alike, of which the answer names no more
RECENT = 256 * 1024  # bytes at the end of the trail in which the latest recipes are looked for
PAUSE = 0.001  # seconds between two files: the loop has more urgent things to do
_DYING = 100  # runs that were cut short, of which the relay may say yet that it dead-letters their message

Line = dict[str, Any]
Found = dict[str, Any]


class Host(Protocol):
    """What this needs of the daemon."""

    config: DaemonConfig
    fleet: Fleet
    loop: Loop


class Trail:
    """The trail as the supervisor sees it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._dying: OrderedDict[int, str] = OrderedDict()  # heads, by delivery

    @property
    def _board(self) -> Board:
        return self._host.fleet.board

    @property
    def _directory(self) -> str:
        return str(self._host.config.state_dir / "trail")

    @property
    def _part(self) -> int:
        return file.part_of(self._host.config.trail)

    def resize(self) -> None:
        """Keep so much from now on as the configuration says."""
        for number in self._board.taken:
            if page := self._board.page(number):
                layout.set_number(page, layout.PART, self._part)
        file.prune(self._directory, self._host.config.trail)

    def add(self, lines: bytes) -> None:
        """Save the lines of a worker that may not do it."""
        if self._part and lines.endswith(b"\n"):
            self._append(lines)

    # -- Workers that end

    def ended(self, number: int) -> None:
        """Save what a worker has left on its page."""
        page = self._board.page(number)
        if page and (lines := layout.lines_of(page)):
            layout.set_number(page, layout.USED, 0)
            self._append(lines)

    def died(self, number: int, delivery: int | None, why: str, report: int | None) -> None:
        """Note what a worker was at when it ended.

        Args:
            number: of its entry.
            delivery: that it was at, or at last.
            why: it has ended.
            report: the number of the crash report, 0 for a crash without one, None for no crash.
        """
        page = self._board.page(number)
        head = layout.head_of(page) if page else ""
        state = layout.number_at(page, layout.STATE) if page else layout.SETTLED
        crashed = report is not None
        # What has raised or was only held is no run that was cut short, unless the worker has died of it.
        if state == layout.SETTLED or (state == layout.OPEN and not crashed) or not self._part:
            return
        made = layout.unfinished("died", head)
        if made is None or made["delivery"] not in (0, delivery):
            return
        took = max(0, time.time_ns() // 1000 - made["time"]) if state == layout.RUNNING else None
        detail = f"report {report}: {why}" if report else why
        self._append(layout.line("died", head, took, "crashed" if crashed else "cut", detail))
        self._dying[made["delivery"]] = head
        if len(self._dying) > _DYING:
            self._dying.popitem(last=False)

    def dead_lettered(self, delivery: Any, reason: str) -> None:
        """The relay has given a message up that a worker has died of."""
        head = self._dying.pop(delivery, None)
        if head is not None:
            later = layout.later(head, time.time_ns() // 1000)
            self._append(layout.line("settled", later, None, "dead-lettered", reason))

    def _append(self, data: bytes) -> None:
        if self._part:
            with contextlib.suppress(OSError):  # a full disk: the answer to `trace` says how far it reaches
                file.append(self._directory, data, self._part)

    # -- Who asks

    def find(self, prefix: str, sees: Callable[[str], bool], done: Callable[[Found], None]) -> None:
        """Call `done` with what is known of recipes whose ID begins so, of the latest recipes for "".

        Args:
            sees: whether the lines of an instance may be shown.
        """
        lines: deque[Line] = deque(maxlen=MOST)
        paths = file.parts(self._directory)
        # First the pages: what is saved meanwhile is then found twice, and not missed.
        news = list(self._news(prefix))
        since = min([line["time"] for line in news] if not paths else [_first(paths[0])], default=None)
        left_out = 0

        def add(found: Iterable[Line]) -> None:
            nonlocal left_out
            for line in found:
                if sees(line["instance"]):
                    left_out += len(lines) == MOST
                    lines.append(line)

        def step() -> None:
            if places:
                add(layout.found(_read(*places.pop(0)), prefix))
                self._host.loop.after(PAUSE, step)
                return
            add(news)
            size = self._host.config.trail
            done({"lines": list(lines), "left_out": left_out, "since": since, "size": size})

        places = [(path, 0) for path in paths] if prefix else _ends(paths, RECENT)
        step()

    def _news(self, prefix: str) -> Iterator[Line]:
        """Yield the lines that are in no file yet, and what runs now."""
        for page in filter(None, map(self._board.page, self._board.taken)):
            yield from layout.found(layout.lines_of(page), prefix)
            if layout.number_at(page, layout.STATE) == layout.RUNNING:
                made = layout.unfinished("running", layout.head_of(page))
                if made and made["recipe"].startswith(prefix):
                    made["took"] = max(0, time.time_ns() // 1000 - made["time"])
                    yield made


def _ends(paths: list[str], most: int) -> list[tuple[str, int]]:
    """Return the files that have the last `most` bytes, with the places where these begin."""
    places: list[tuple[str, int]] = []
    for path in reversed(paths):
        size = 0
        with contextlib.suppress(OSError):
            size = os.stat(path).st_size  # noqa: PTH116  pathlib costs the takeover
        places.insert(0, (path, max(0, size - most)))
        most -= size
        if most <= 0:
            break
    return places


def _read(path: str, start: int) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as stream:  # noqa: PTH123  as above
        stream.seek(start)
        return stream.read()
    return b""


def _first(path: str) -> int | None:
    """Return when the first line of a file was written, in microseconds since the epoch."""
    with contextlib.suppress(OSError), open(path, "rb") as stream:  # noqa: PTH123  as above
        made = layout.parsed(stream.readline(layout.PAGE).decode(errors="replace").rstrip("\n"))
        return made["time"] if made else None
    return None
