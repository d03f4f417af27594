"""Which unpacker a line gets."""

import socket

import pytest

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.worker import dial


class Line:
    """A relay that welcomes."""

    def recv(self, _size: int) -> bytes:
        return protocol.encode([protocol.WELCOME, protocol.VERSION, 1])

    def settimeout(self, _seconds: float | None) -> None: ...
    def connect(self, _path: str) -> None: ...
    def sendall(self, _data: bytes) -> None: ...


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    monkeypatch.setattr(dial, "_spare", [])
    return Line()  # type: ignore[return-value]


def test_the_first_line_takes_what_was_prepared_and_the_next_has_its_own(line: socket.socket) -> None:
    dial.prepare()
    prepared = dial._spare[0]
    assert dial.dial(line, "relay.sock", b"", 1.0) is prepared
    assert dial.dial(line, "relay.sock", b"", 1.0) is not prepared


def test_without_preparation_it_makes_one(line: socket.socket) -> None:
    first = dial.dial(line, "relay.sock", b"", 1.0)
    assert dial.dial(line, "relay.sock", b"", 1.0) is not first
