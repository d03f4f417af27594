"""Garbage on both sockets of a live daemon: it closes that one connection, and nobody else notices."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import msgpack
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pulse import Host, hosting
from tests.waiting import wait_until
from zocalo_daemon.protocol import control, framing, worker

GROWTH = 48  # MiB that supervisor and relay may take more after all of it
EXAMPLES = settings(
    max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

# Without the characters of patterns: nothing that is sent here shall stop the healthy service.
names = st.text(st.characters(exclude_characters="*?[", codec="utf-8"), max_size=8)
plain = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | names | st.binary(max_size=9)
)
values = st.recursive(
    plain, lambda v: st.lists(v, max_size=4) | st.dictionaries(names | plain, v, max_size=4)
)
maps = st.dictionaries(names, values, max_size=4)
# Those that change the daemon as a whole are tried elsewhere.
harmless = st.sampled_from(sorted(set(control.OPERATIONS) - {"reload", "reexec"}))


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    """A daemon whose relay lets scripts in: what a stranger may say has an end after the first frame."""
    with hosting(tmp_path_factory.mktemp("frames") / "d", {}, relay={"clients": "user"}) as host:
        yield host


def packed(value: object) -> bytes:
    """Return a value as msgpack; it may be a key that no map may have."""
    try:
        return msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError):
        return b"\xc1"


def framed(value: object) -> bytes:
    """Return a frame of the control protocol."""
    data = packed(value)
    return struct.pack(">I", len(data)) + data


def say(path: Path, data: bytes) -> None:
    """Send something to a socket and hang up."""
    with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        line.connect(str(path))
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        line.settimeout(20)
        while line.recv(65536):
            pass


def memory(host: Host) -> dict[int, float]:
    """Return the resident MiB of supervisor and relay, by pid."""
    about = host.status()["daemon"]
    return {
        pid: psutil.Process(pid).memory_info().rss / 2**20 for pid in (about["pid"], about["relay"]["pid"])
    }


@contextlib.contextmanager
def bounded(host: Host, growth: float = GROWTH) -> Iterator[None]:
    """Within this supervisor and relay stay who they are, and as large as they are."""
    before = memory(host)
    with host.unharmed():
        yield
    after = memory(host)
    assert set(after) == set(before)
    assert all(after[pid] - before[pid] < growth for pid in before)


HELLO = framing.encode(control.client_hello("fuzz"))
requests = st.fixed_dictionaries(
    {"id": st.integers(1, 5)}, optional={"op": harmless | names, "args": maps | values}
)
control_streams = st.one_of(
    st.binary(max_size=2000),
    st.binary(max_size=2000).map(lambda data: HELLO + data),
    st.lists(values.map(framed), max_size=5).map(b"".join),
    st.lists((requests | values).map(framed), max_size=8).map(lambda frames: HELLO + b"".join(frames)),
)


def test_garbage_on_the_control_socket(host: Host):
    @EXAMPLES
    @given(control_streams)
    def speak(data: bytes) -> None:
        say(host.socket, data)

    with bounded(host):
        speak()
    assert "Traceback" not in host.stderr()


def test_frames_that_are_too_large_for_the_control_socket(host: Host):
    """The length alone is refused; what is announced is not waited for, nor is memory taken for it."""
    with bounded(host, 16):
        for length in (framing.MAX_FRAME + 1, 2**31, 2**32 - 1):
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(20)
                line.connect(str(host.socket))
                line.sendall(HELLO + struct.pack(">I", length))
                (_, error) = framing.Decoder().feed(b"".join(iter(lambda: line.recv(65536), b"")))
                assert f"a frame of {length} bytes is over the limit" in error["error"]["message"]


def greeting(host: Host) -> bytes:
    """Return a HELLO for the relay."""
    return worker.encode([worker.HELLO, worker.VERSION, "", 1, "fuzz", ""])


publications = st.tuples(
    st.integers(0, 2) | plain, names | plain, maps | values, st.binary(max_size=9) | plain, maps | values
)
settlements = st.tuples(st.integers(5, 6), st.integers(0, 3), plain, plain, plain)
contents = st.one_of(plain, maps, publications, st.lists(publications | settlements, max_size=3))
relay_frames = st.tuples(st.integers(0, 12), contents, contents, contents, contents, contents)
relay_streams = st.one_of(
    st.binary(max_size=2000).map(lambda data: (False, data)),
    st.binary(max_size=2000).map(lambda data: (True, data)),
    st.lists((relay_frames | values).map(packed), max_size=8).map(lambda frames: (True, b"".join(frames))),
    st.lists(
        st.builds(lambda frame, length: packed(frame[: 1 + length]), relay_frames, st.integers(0, 5)),
        max_size=8,
    ).map(lambda frames: (True, b"".join(frames))),
)


def test_garbage_on_the_relay_socket(host: Host):
    path = host.socket.with_name("relay.sock")

    @EXAMPLES
    @given(relay_streams)
    def speak(stream: tuple[bool, bytes]) -> None:
        greeted, data = stream
        say(path, (greeting(host) if greeted else b"") + data)

    with bounded(host):
        speak()
    assert "Traceback" not in host.stderr()


@pytest.mark.parametrize("head", [b"\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"])
def test_frames_that_are_too_large_for_the_relay_socket(host: Host, head: bytes):
    """Bytes, an array and a map of 4 GiB are announced: the connection ends at the limit, at the latest."""
    path = host.socket.with_name("relay.sock")
    with bounded(host), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(path))
        portion, sent = bytes(1 << 20), 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(greeting(host) + b"\x95\x04\x01\xc2" + head)
            while sent < 2 * worker.MAX_FRAME:
                line.sendall(portion)
                sent += len(portion)
        assert sent <= worker.MAX_FRAME + len(portion)
        wait_until(lambda: "not a stream of msgpack frames" in host.logs("relay"))
