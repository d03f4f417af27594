"""JSONLines with a transport that only takes notes; files are in tmp_path."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fake_transport import FakeTransport
from zocalo_daemon.services import jsonlines
from zocalo_daemon.services.jsonlines import JSONLines, append

MARK = {"workflows-recipe": True}


class Setup:
    """A service whose clock stands at `now`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self.transport = FakeTransport()
        self.service = JSONLines()
        self.service.transport = self.transport
        self.service.initializing(lambda: self.now)

    def send(self, path: Any, message: Any, **parameters: Any) -> str:
        step = {"queue": "jsonlines", "parameters": {"output_filename": path, **parameters}}
        return self.raw({"recipe": {"1": step}, "recipe-pointer": 1, "payload": message})

    def raw(self, envelope: Any, header: Any = MARK) -> str:
        self.count += 1
        self.transport.deliver("jsonlines", envelope, header, tag=f"m{self.count}")
        return f"m{self.count}"


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_subscribes_as_the_only_writer(setup: Setup) -> None:
    options = setup.transport.subscribed["jsonlines"]
    assert (options["acknowledgement"], options["exclusive"], options["prefetch_count"]) == (True, True, 100)
    assert setup.service._idle_time == 1


def test_messages_are_written_when_idle_then_acknowledged(setup: Setup, tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl"
    setup.send(str(path), {"a": 1, "é": "\n"})
    setup.send(str(path), {"a": 2})
    assert setup.transport.acked == []
    setup.service._idle_callback()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1, "é": "\n"}, {"a": 2}]
    assert setup.transport.acked == ["m1", "m2"]


def test_a_hundred_messages_are_written_at_once(setup: Setup, tmp_path: Path) -> None:
    for number in range(199):
        setup.send(str(tmp_path / f"{number % 2}"), {"n": number})
    assert len(setup.transport.acked) == 100


def test_a_trickle_does_not_wait_for_the_idle_timer(setup: Setup, tmp_path: Path) -> None:
    setup.now = 50.0
    for step in range(3):
        setup.now += 0.5
        setup.send(str(tmp_path / "out"), {"n": step})
    assert len(setup.transport.acked) == 3


def test_what_waits_is_written_at_shutdown(setup: Setup, tmp_path: Path) -> None:
    setup.send(str(tmp_path / "out"), {})
    setup.service.in_shutdown()
    assert setup.transport.acked == ["m1"]


def test_without_a_connection_nothing_is_written_that_will_come_again(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.send(str(tmp_path / "out"), {})
    monkeypatch.setattr(FakeTransport, "is_connected", lambda self: False)
    setup.service.in_shutdown()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("parameters", "keys"),
    [
        ({}, "abc"),
        ({"include": ["a", "b"]}, "ab"),
        ({"exclude": ["a"]}, "bc"),
        ({"include": ["a", "b"], "exclude": ["a"]}, "b"),
        ({"include": None, "exclude": []}, "abc"),
    ],
    ids=str,
)
def test_keys_are_chosen(setup: Setup, tmp_path: Path, parameters: dict[str, Any], keys: str) -> None:
    setup.send(str(tmp_path / "out"), dict.fromkeys("abc"), **parameters)
    setup.service.write_waiting()
    assert "".join(json.loads((tmp_path / "out").read_text())) == keys


@pytest.mark.parametrize("message", [[1], "text", b"\xff", None, 7], ids=str)
def test_a_message_that_is_no_object_is_dead_lettered(setup: Setup, tmp_path: Path, message: Any) -> None:
    setup.send(str(tmp_path / "out"), message)
    good = setup.send(str(tmp_path / "out"), {})
    setup.service.write_waiting()
    assert (setup.transport.nacked, setup.transport.acked) == (["m1"], [good])


@pytest.mark.parametrize(
    "parameters",
    [
        {"output_filename": ""},
        {"output_filename": None},
        {"output_filename": 7},
        {"output_filename": "relative"},
        {"output_filename": "/a\0b"},
        {"output_filename": "/a\ud800"},
        {"include": "abc"},
        {"exclude": [1]},
    ],
    ids=str,
)
def test_bad_parameters_are_dead_lettered(setup: Setup, parameters: dict[str, Any]) -> None:
    setup.send(**{"path": "/x", "message": {}, **parameters})
    assert setup.transport.nacked == ["m1"]


@pytest.mark.parametrize("step", [{}, {"parameters": None}, {"parameters": []}], ids=str)
def test_a_recipe_without_parameters_is_dead_lettered(setup: Setup, step: Any) -> None:
    setup.raw({"recipe": {"1": step}, "recipe-pointer": 1, "payload": {}})
    assert setup.transport.nacked == ["m1"]


def test_a_message_outside_a_recipe_is_dead_lettered(setup: Setup) -> None:
    setup.raw({"a": 1}, header={})
    setup.raw([], header=MARK)
    assert setup.transport.nacked == ["m1", "m2"]


def test_a_file_that_cannot_be_written_harms_no_other(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    bad = [str(tmp_path / "file" / "below"), str(tmp_path), str(tmp_path / "pipe"), "/" + "x" * 300]
    lost = [setup.send(path, {}) for path in bad]
    good = setup.send(str(tmp_path / "good"), {"a": 1})
    setup.service.write_waiting()
    assert (setup.transport.nacked, setup.transport.acked) == (lost, [good])
    setup.service.write_waiting()
    assert len(setup.transport.nacked) == len(bad)  # each is settled once


def test_the_acknowledgement_comes_after_the_disk(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acked = []
    monkeypatch.setattr(jsonlines.os, "fsync", lambda fd: acked.append(list(setup.transport.acked)))
    setup.send(str(tmp_path / "out"), {})
    setup.service.write_waiting()
    assert acked == [[], []]  # the file and its directory
    assert setup.transport.acked == ["m1"]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    append(path, b"{}\n")
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:5])

    monkeypatch.setattr(jsonlines.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        append(path, b'{"long": 123}\n')
    assert path.read_bytes() == b"{}\n"


def test_a_torn_line_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b'{}\n{"to')
    append(path, b"{}\n")
    assert path.read_bytes() == b'{}\n{"to\n{}\n'
