"""Crash reports on disk: one JSON file each, numbered upwards, the oldest deleted when there are too many.

The first line of a file has what a list shows, so that listing reads no more than that. Files and their
directory are the daemon's own (modes 0600, 0700): a report holds parts of a message and of a log.

`json` is imported where it is needed: the new code of a reexec does without.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

PER_SERVICE = 50
IN_ALL = 500
SUMMARY = ("id", "time", "instance", "service", "cause", "text", "queue", "dead_lettered")
_FIRST_LINE = 16 * 1024  # bytes
_NAME = re.compile(r"([1-9]\d{0,17})\.json")

Report = dict[str, Any]


class Reports:
    """The reports of a directory, which is made when the first one is written."""

    def __init__(self, directory: Path, *, per_service: int = PER_SERVICE, in_all: int = IN_ALL) -> None:
        self._directory = directory
        self._per_service, self._in_all = per_service, in_all
        self._summaries: dict[int, Report] | None = None  # oldest first; read when it is needed
        self._latest = max(self._numbers(), default=0)

    def next_number(self) -> int:
        """Return a number for a new report."""
        self._latest += 1
        return self._latest

    def write(self, report: Report) -> None:
        """Write a report, or write it again; delete the oldest if there are too many.

        Raises:
            OSError: it cannot be written.
        """
        number = report["id"]
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._directory / f"{number}.new"
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(encode(report))
            new.replace(self._file(number))
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        self._known()[number] = summary_of(report)
        self._prune(report["service"])

    def summaries(self) -> list[Report]:
        """Return what a list shows of each report, oldest first."""
        return list(self._known().values())

    def read(self, number: int) -> Report | None:
        """Return a report, or None."""
        import json

        try:
            report = json.loads(self._file(number).read_bytes())
        except (OSError, ValueError):
            return None
        return report if isinstance(report, dict) else None

    def _prune(self, service: str) -> None:
        known = self._known()
        same = [number for number, summary in known.items() if summary.get("service") == service]
        too_many = same[: -self._per_service] or list(known)[: -self._in_all]
        for number in too_many:
            del known[number]
            with contextlib.suppress(OSError):
                self._file(number).unlink()

    def _known(self) -> dict[int, Report]:
        if self._summaries is None:
            found = {number: self._summary(number) for number in sorted(self._numbers())}
            self._summaries = {number: summary for number, summary in found.items() if summary}
        return self._summaries

    def _summary(self, number: int) -> Report | None:
        try:
            with self._file(number).open("rb") as file:
                return decode_summary(file.readline(_FIRST_LINE))
        except OSError:
            return None

    def _numbers(self) -> list[int]:
        try:
            names = [_NAME.fullmatch(entry.name) for entry in self._directory.iterdir()]
        except OSError:
            return []
        return [int(name[1]) for name in names if name]

    def _file(self, number: int) -> Path:
        return self._directory / f"{number}.json"


def summary_of(report: Report) -> Report:
    """Return what a list shows of a report."""
    return {key: report.get(key) for key in SUMMARY}


def encode(report: Report) -> bytes:
    """Return the text of a file: a JSON object whose first line is the summary."""
    import json

    rest = {key: value for key, value in report.items() if key not in SUMMARY}
    lines = [json.dumps(summary_of(report), default=str)[:-1]]
    lines += [json.dumps({key: value}, default=str)[1:-1] for key, value in rest.items()]
    return (",\n".join(lines) + "}\n").encode()


def decode_summary(line: bytes) -> Report | None:
    """Return the summary in the first line of a file, or None."""
    import json

    try:
        summary = json.loads(line.rstrip().removesuffix(b"}").removesuffix(b",") + b"}")
    except ValueError:
        return None
    return summary if isinstance(summary, dict) and summary.keys() >= set(SUMMARY) else None
