"""The results of a scan while they arrive: in any order, some of them twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Collection:
    """What has arrived of one scan.

    Args:
        results: by image number, so that a result that arrives twice counts once.
        headers: of every message in hand.
        summary: how many images there are, once that is known.
        progress: when the last message came, in seconds of a monotonic clock.
    """

    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    headers: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] | None = None
    progress: float = 0.0

    def add(self, header: dict[str, Any], message: dict[str, Any], now: float) -> None:
        """Take a message in hand: the result of an image, or the summary of the scan.

        Raises:
            ValueError: it is neither.
        """
        if "files-seen" in message:
            self.summary = message
        elif "file-number" in message and "spots" in message:
            self.results[int(message["file-number"])] = message
        else:
            raise ValueError("neither the result of an image nor the summary of a scan")
        self.headers.append(header)
        self.progress = now

    @property
    def complete(self) -> bool:
        """Return whether the summary and the results of all images that it counts are there."""
        return self.summary is not None and len(self.results) >= self.summary["files-seen"]

    def overdue(self, now: float, timeout: float) -> bool:
        """Return whether nothing has come for so long that nothing more is to be expected."""
        return now - self.progress >= timeout
