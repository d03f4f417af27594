import gc
import logging
import threading
from pathlib import Path

import pytest
from workflows.services.common_service import CommonService

from zocalo_daemon.worker import rehearsal


def state() -> list[object]:
    gc.collect()
    root = logging.getLogger()
    shared = dict(getattr(CommonService, "start_kwargs", {}))
    descriptors = {path.name for path in Path("/proc/self/fd").iterdir()}
    return [root.level, root.handlers[:], shared, descriptors]


def test_nothing_is_left_of_a_rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before, threads = state(), set(threading.enumerate())
    rehearsal.rehearse()
    assert state() == before
    assert set(threading.enumerate()) <= threads  # those of others may end meanwhile
    assert list(tmp_path.iterdir()) == []


def test_the_service_gets_as_far_as_it_subscribes_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    played = []
    serve = rehearsal.serve
    monkeypatch.setattr(rehearsal, "serve", lambda *args: played.append(serve(*args)))
    shutdown = rehearsal._Service._shutdown
    monkeypatch.setattr(
        rehearsal._Service, "_shutdown", lambda self: (played.append("ready"), shutdown(self))
    )
    rehearsal.rehearse()
    assert played == ["ready", 0] * rehearsal._TIMES


def test_without_a_place_for_its_socket_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    rehearsal.rehearse()
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    rehearsal.rehearse()
    assert list(long.iterdir()) == []
