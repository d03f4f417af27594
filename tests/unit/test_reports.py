"""Crash reports on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from zocalo_daemon.supervision.reports import Reports, decode_summary, encode


def made(reports: Reports, service: str = "a", **more) -> dict:
    return {"id": reports.next_number(), "time": 1.5, "instance": f"{service}/0", "service": service, **more}


def test_reports_are_numbered_over_restarts_and_read_back(tmp_path: Path):
    reports = Reports(tmp_path / "crashes")
    assert reports.summaries() == []
    first = made(reports, text='with a "quote", and a brace }', dead_lettered=True, log=[{"text": "\u20ac"}])
    reports.write(first)
    again = Reports(tmp_path / "crashes")
    read = again.read(1)
    assert read == read | first
    (summary,) = again.summaries()
    assert (summary["id"], summary["text"], summary["dead_lettered"]) == (1, first["text"], True)
    assert "log" not in summary
    assert again.next_number() == 2
    assert again.read(2) is None


def test_a_file_is_one_json_object_whose_first_line_is_the_summary():
    for report in ({"id": 1, "a": [1], "b": {"c": 2}}, {"id": 1}):
        data = encode(report)
        assert json.loads(data) == json.loads(data) | report
        assert decode_summary(data.split(b"\n")[0])["id"] == 1
    assert decode_summary(b"") is decode_summary(b"[1]") is decode_summary(b'{"id": 1}') is None


def test_files_are_the_daemons_own(tmp_path: Path):
    reports = Reports(tmp_path / "crashes")
    reports.write(made(reports))
    assert stat.S_IMODE((tmp_path / "crashes").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "crashes/1.json").stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "crashes").iterdir()] == ["1.json"]


def test_the_oldest_are_deleted(tmp_path: Path):
    reports = Reports(tmp_path, per_service=2, in_all=3)
    for service in "aaabcc":
        reports.write(made(reports, service))
    assert [one["id"] for one in reports.summaries()] == [4, 5, 6]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["4.json", "5.json", "6.json"]
    reports.write(made(reports, "c"))
    assert [one["id"] for one in Reports(tmp_path).summaries()] == [4, 6, 7]


def test_a_report_that_is_written_again_is_still_one(tmp_path: Path):
    reports = Reports(tmp_path)
    report = made(reports)
    reports.write(report)
    reports.write(report | {"queue": "q"})
    assert [one["queue"] for one in reports.summaries()] == ["q"]


def test_what_is_no_report_is_left_alone(tmp_path: Path):
    for name in ("x.json", "0.json", "notes", "3.json"):
        (tmp_path / name).write_text("garbage")
    reports = Reports(tmp_path)
    assert reports.summaries() == []
    assert reports.read(3) is None
    assert reports.next_number() == 4


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()
    reports = Reports(tmp_path / "file")
    assert reports.summaries() == []
    with pytest.raises(OSError):
        reports.write(made(reports))
    (tmp_path / "file").unlink()
    reports.write(made(reports))
