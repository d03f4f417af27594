"""Log records as GELF: complete, bounded, and always possible to send."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import pytest

from zocalo_daemon.site import gelf


def record(level: int = logging.WARNING, message: str = "text", **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("site.spots", level, "/s/f.py", 3, message, (), None, "find")
    vars(made).update(extra)
    return made


def encoded(made: logging.LogRecord, text: str = "text") -> dict[str, Any]:
    data = gelf.encode(made, text, "host")
    assert len(data) <= 100_000
    return json.loads(data)


def test_fields_are_those_of_graypy() -> None:
    fields = encoded(record(recipe_ID="abc", workflows_host="h.1", n=7, nothing=None))
    assert (fields["version"], fields["host"], fields["short_message"]) == ("1.1", "host", "text")
    assert (fields["_facility"], fields["_file"], fields["_line"]) == ("site.spots", "/s/f.py", 3)
    assert (fields["_function"], fields["_pid"]) == ("find", os.getpid())
    assert (fields["level"], fields["_level_name"]) == (4, "WARNING")
    assert (fields["_recipe_ID"], fields["_workflows_host"], fields["_n"]) == ("abc", "h.1", 7)
    assert "_nothing" not in fields and "full_message" not in fields


@pytest.mark.parametrize(
    ("level", "severity"), [(5, 7), (10, 7), (20, 6), (25, 5), (30, 4), (40, 3), (50, 2), (60, 1), (99, 1)]
)
def test_levels_become_severities(level: int, severity: int) -> None:
    assert encoded(record(level))["level"] == severity


def test_a_traceback_is_the_full_message() -> None:
    assert encoded(record(exc_text="Traceback"))["full_message"] == "Traceback"


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [Hostile(), float("nan"), {(1, 2): 3}, b"\xff", "\ud800", True, ["x"], 2**80, "y" * 10**6],
    ids=lambda value: type(value).__name__,
)
def test_any_value_becomes_text_or_a_number(value: Any) -> None:
    assert isinstance(encoded(record(odd=value)).get("_odd", ""), (str, int))


def test_names_that_graylog_refuses() -> None:
    fields = encoded(record(**{"a b": 1, "id": 2, "_hidden": 3}))
    assert fields["_a_b"] == 1
    assert "_id" not in fields and "__hidden" not in fields


def test_what_is_too_long_is_cut() -> None:
    assert len(encoded(record(exc_text="e" * 10**6), "t" * 10**6)["short_message"]) == 16 * 1024
    assert encoded(record(), "\0" * 10**6)["short_message"]
    assert encoded(record(exc_text="\0" * 10**6), "\0" * 10**6)["short_message"]
    assert encoded(record(), "")["short_message"] == "-"


def test_chunks() -> None:
    assert list(gelf.chunks(b"short", b"n" * 8)) == [b"short"]
    data = os.urandom(5000)
    parts = list(gelf.chunks(data, b"n" * 8))
    assert all(part[:2] == b"\x1e\x0f" and part[2:10] == b"n" * 8 for part in parts)
    assert [(part[10], part[11]) for part in parts] == [(n, 4) for n in range(4)]
    assert b"".join(part[12:] for part in parts) == data
