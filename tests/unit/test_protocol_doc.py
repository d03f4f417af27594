"""docs/protocol.md says what the code does: its examples byte by byte, its tables name by name."""

import json
import re
from pathlib import Path

import pytest

from zocalo_daemon import errors
from zocalo_daemon.control import connection, outbox, server
from zocalo_daemon.protocol import control, framing, worker

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def examples(kind):
    """Yield the value and the bytes of each example frame."""
    (block,) = re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.M | re.S)
    for frame in re.findall(r"^(\S.*\n(?:^ +[0-9a-f]+\n)+)", block, re.M):
        first, *rest = frame.splitlines()
        value, end = json.JSONDecoder().raw_decode(
            first, first.index(" {" if kind == "control" else " [") + 1
        )
        yield value, bytes.fromhex("".join(map(str.strip, rest))), first[end:].strip()


def test_examples_of_the_control_protocol():
    frames = list(examples("control"))
    assert len(frames) > 8
    for value, data, _ in frames:
        assert list(framing.Decoder().feed(data)) == [value]
        assert framing.encode(value) == data


def test_examples_of_the_worker_protocol():
    frames = list(examples("worker"))
    assert len(frames) > 8
    for value, data, name in frames:
        (frame,) = worker.frames(worker.decoder(), data)
        assert json.loads(json.dumps(frame, default=bytes.decode)) == value
        assert getattr(worker, name) == frame[0]
        assert worker.encode(frame) == data


def test_every_operation_is_described_with_its_role():
    described = {}
    for names, role in re.findall(r"^\| (`[a-z.`, ]+) \| (view|operate|admin) \|", TEXT, re.M):
        described.update(dict.fromkeys(re.findall(r"`([a-z.]+)`", names), role))
    assert described == control.OPERATIONS


def test_every_error_code_is_described_with_its_exit_status():
    rows = re.findall(r"^\| `([a-z.-]+)` \| .* \| (\d) \|$", TEXT, re.M)
    kinds = [errors.ZocaloError, *errors.ZocaloError.__subclasses__()]
    sent = {kind.code: kind.exit_status for kind in kinds if kind.__module__ == errors.__name__}
    del sent["not-running"]  # a client's own conclusion
    assert {code: int(status) for code, status in rows} == sent


def test_every_kind_of_frame_is_described():
    rows = {name: int(kind) for kind, name in re.findall(r"^\| (\d+) \| ([A-Z]+) \|", TEXT, re.M)}
    constants = {name: value for name, value in vars(worker).items() if name.isupper() and type(value) is int}
    for other in ("VERSION", "MAX_FRAME", "QUEUE", "TOPIC", "TEMPORARY"):
        del constants[other]
    assert rows == constants


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("4194304 bytes", framing.MAX_FRAME == 4194304),
        ("first 4096 bytes", connection.MAX_HELLO == 4096),
        ("64 requests open", connection.MAX_OPEN == 64),
        ("256 KiB of answers", connection.PAUSE_OUTPUT == 256 * 1024),
        ("up to 12,000 or 2 MiB", (outbox.MAX_CHUNKS, outbox.MAX_CHUNK_BYTES) == (12_000, 2 << 20)),
        ("8 MiB unread", connection.MAX_OUTPUT == 8 << 20),
        ("(256; the last 16 places", (server.MAX_CLIENTS, server.RESERVED) == (256, 16)),
        ("at most 64 MiB", worker.MAX_FRAME == 64 << 20),
    ],
)
def test_bounds_are_those_of_the_code(said, value):
    assert said in TEXT
    assert value
