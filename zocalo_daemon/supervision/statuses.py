"""What to broadcast of each worker, and when (pure): its status in the numbers of workflows.

All workers are looked at every TICK. One that is at work or idle shows that on the board, where it notes what
it does anyway, so that a status costs the worker nothing. Each is told every EVERY looks, which is a little
less than 6 s; a change is told at once, as long as no more than a sixth of the workers are told in one look.
When all have been idle for so long that each look would tell the same, nobody looks: the relay repeats it.
"""

from __future__ import annotations

import functools
import platform
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision.liveness import Phase
from zocalo_daemon.values import Record, Value, field

TICK = 0.98  # seconds
EVERY = 6  # looks
HELD_BACK = 0.5  # seconds that a worker must have nothing to do before it counts as idle
FEW = 10  # statuses in one look that are never too many

# workflows.services.common_service.Status
TEARDOWN, STARTING, IDLE, TIMER, PROCESSING, SHUTDOWN, ERROR = -2, 1, 2, 3, 4, 5, 7
TEXTS = {
    TEARDOWN: "shutdown",
    STARTING: "starting",
    IDLE: "idle",
    TIMER: "timer event",
    PROCESSING: "processing",
    SHUTDOWN: "shutting down",
    ERROR: "error",
}
_NANOSECOND = 1e-9


def class_name(known: Mapping[str, Any]) -> str:
    """Return the name of a class without its module, from what a forkserver has said of it, or ""."""
    return str(known.get("class", "")).rpartition(":")[2].rpartition(".")[2]


@functools.cache
def machine() -> str:
    """Return the name of this host as workflows writes it, with the largest domain first."""
    return ".".join(reversed(platform.node().split(".")))


class Glimpse(Value):
    """What a worker shows: its phase, its entry on the board, whether it has reported an error."""

    phase: Phase
    entry: Entry
    failed: bool = False


class Track(Record):
    """What is remembered of a worker: the latest statuses, the one that was told last, and how long ago."""

    samples: deque[int] = field(default_factory=lambda: deque(maxlen=EVERY))
    shown: int = STARTING
    told: int | None = None
    age: int = 0  # looks
    ended: int = 0  # callbacks, at the last look
    progress: int = 0  # of its entry, at the last look


class Statuses:
    """Decides at each look which workers are told of; they are known by their serials."""

    def __init__(self) -> None:
        self._tracks: dict[int, Track] = {}

    def look(self, workers: Mapping[int, Glimpse], now: float) -> list[int]:
        """Return the serials of those to be told, those first that waited longest; `now`: monotonic."""
        for serial, glimpse in workers.items():
            known = self._tracks.get(serial)
            if known is None:
                entry = glimpse.entry
                known = self._tracks[serial] = Track(ended=entry.ended, progress=entry.progress)
            _see(known, glimpse, now)
        for serial in self._tracks.keys() - workers.keys():
            del self._tracks[serial]
        tracks = self._tracks.items()
        due = [serial for serial, track in tracks if track.told is not None and track.age >= EVERY]
        changed = (self._tracks.keys() - due) & {s for s, track in tracks if track.shown != track.told}
        # No more are due in one look than were told in an earlier one, so that this bounds all.
        room = max(FEW, -(-len(workers) // EVERY)) - len(due)
        chosen = due + sorted(changed, key=lambda s: (-self._tracks[s].age, s))[: max(0, room)]
        for serial in chosen:
            track = self._tracks[serial]
            track.told, track.age = track.shown, 0
        return chosen

    @property
    def settled(self) -> bool:
        """Whether what there is to tell stays the same until one of them does something."""
        return all(
            track.shown == IDLE and list(track.samples) == [IDLE] * EVERY for track in self._tracks.values()
        )

    def everyone(self) -> list[int]:
        """Return the serials of all workers, who are told of now."""
        for track in self._tracks.values():
            track.told, track.age = track.shown, 0
        return list(self._tracks)

    def forget(self) -> None:
        """Begin anew: nobody knows what was told."""
        for track in self._tracks.values():
            track.told = None

    def status(self, serial: int) -> int:
        """Return the status of a worker."""
        return self._tracks[serial].shown

    def utilization(self, serial: int) -> dict[str, float]:
        """Return the share of each status in the latest looks at a worker; they sum up to 1."""
        samples = self._tracks[serial].samples
        return {str(code): round(count / len(samples), 4) for code, count in Counter(samples).items()}


def _see(track: Track, glimpse: Glimpse, now: float) -> None:
    entry = glimpse.entry
    code = _code(glimpse, now)
    track.samples.append(code)
    if code == IDLE and now - entry.progress * _NANOSECOND < HELD_BACK:
        # It has just ended something, and may begin again at once.
        if entry.ended != track.ended:
            code = PROCESSING
        elif entry.progress != track.progress and track.shown != STARTING:
            code = TIMER  # it has called its transport, and that in no callback
    track.shown, track.ended, track.progress = code, entry.ended, entry.progress
    track.age += 1


def _code(glimpse: Glimpse, now: float) -> int:
    entry = glimpse.entry
    if glimpse.failed:
        return ERROR
    if glimpse.phase is Phase.INITIALIZING:
        return STARTING
    if glimpse.phase is Phase.IN_SHUTDOWN:
        return SHUTDOWN
    if entry.begun > entry.ended:
        return PROCESSING
    waits = entry.given > entry.begun  # in the service's own queue: the main loop does something else
    since = max(entry.handed, entry.progress) * _NANOSECOND
    return TIMER if waits and now - since > HELD_BACK else IDLE
