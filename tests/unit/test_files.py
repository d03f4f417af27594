"""Files that others may read while they are made: drop files, files of dead letters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zocalo_daemon.client import files


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect 19 of the peers: a drop file appears under its name before it is written."""
    fsync, seen = os.fsync, []

    def look(descriptor: int) -> None:
        seen.append([path.name for path in tmp_path.iterdir() if not path.name.startswith(".")])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    path = Path(files.write_new(str(tmp_path), "drop", "text"))
    assert seen == [[], ["drop"]]  # the file, then the directory
    assert path.read_text() == "text" and list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_new(str(tmp_path), "drop", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_not_written_over(tmp_path: Path) -> None:
    paths = [files.write_new(str(tmp_path), "drop", str(n)) for n in range(3)]
    assert [Path(path).name for path in paths] == ["drop", "drop-2", "drop-3"]
    assert [Path(path).read_text() for path in paths] == ["0", "1", "2"]
