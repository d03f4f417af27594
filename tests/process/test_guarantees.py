"""What the daemon promises to those who run it (docs/concepts.md), each promise tried as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.daemonkit import COMMANDS, Daemon
from tests.waiting import wait_until
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import Decoder, encode

MakeDaemon = Callable[..., Daemon]


def recorder(file: Path, queue: str, **more: Any) -> dict[str, Any]:
    return {"class": "trial:Recorder", "environment": {"queue": queue, "file": str(file)}, **more}


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def ready(d: Daemon, queue: str) -> int:
    """Return how many messages wait in a queue."""
    said = d.ctl("queues", queue, check=False).stdout.splitlines()
    return int(said[1].split()[1]) if len(said) > 1 else 0


def test_nobody_outlives_a_supervisor_that_is_killed_and_nothing_is_lost(daemon: MakeDaemon, tmp_path: Path):
    slow = {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}}
    d = daemon({"slow": slow, "record": recorder(tmp_path / "out", "in", instances=2)}).start()
    d.ctl("stop", "record")
    for number in range(10):
        d.ctl("send", "in", str(number))
    d.ctl("send", "slow", "0.5")
    wait_until((tmp_path / "started").exists)
    family = psutil.Process(d.process.pid).children(recursive=True)
    assert len(family) >= 3  # the relay, the forkserver, the worker
    d.process.kill()
    d.process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    assert not (tmp_path / "finished").exists()
    d.start()
    wait_until((tmp_path / "finished").exists)
    wait_until(lambda: sorted(lines(tmp_path / "out")) == [str(number) for number in range(10)])


def test_a_dead_worker_holds_nothing_though_its_child_keeps_the_socket_open(
    daemon: MakeDaemon, tmp_path: Path
):
    child = tmp_path / "child"
    service = {"class": "trial:Clinger", "environment": {"file": str(child)}}
    d = daemon({"cling": service, "record": recorder(tmp_path / "out", "out")}).start()
    d.ctl("send", "cling", '"held"')
    try:
        wait_until(lambda: lines(tmp_path / "out") == ["held"])
        wait_until(lambda: not psutil.pid_exists(int(child.read_text())), "the end of what it had left")
    finally:
        child.unlink(missing_ok=True)


def test_two_daemons_never_share_a_state_directory(daemon: MakeDaemon, tmp_path: Path):
    first = daemon({"record": recorder(tmp_path / "out", "in")}).start()
    second = daemon({}, name="second", state_dir=str(first.state_dir))
    command = [COMMANDS / "zocalod", "--config", second.config_file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    said = f"zocalod: another zocalod (pid {first.process.pid}) runs on state directory {first.state_dir}; "
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert first.ctl("status").returncode == 0
    # The kernel lets go of the lock with its process, however that ends.
    first.process.kill()
    first.process.wait()
    second.start()


def test_a_worker_that_stops_finishes_settles_and_says_goodbye(daemon: MakeDaemon, tmp_path: Path):
    service = {"class": "trial:Goodbye", "environment": {"file": str(tmp_path / "started")}}
    d = daemon({"goodbye": service, "record": recorder(tmp_path / "out", "farewell")}).start()
    d.ctl("send", "hello", '"in hand"')
    d.ctl("send", "hello", '"not begun"')
    wait_until((tmp_path / "started").exists)
    d.ctl("stop", "goodbye")
    wait_until(lambda: lines(tmp_path / "out") == ["in hand", "last"])
    assert ready(d, "hello") == 1


def test_the_control_socket_answers_whatever_the_others_do(daemon: MakeDaemon, tmp_path: Path):
    """The relay hangs, a worker floods its output, a client asks a lot and never reads."""
    chatty = {"class": "trial:Chatty", "environment": {"quiet": str(tmp_path / "quiet")}}
    d = daemon({"chatty": chatty, "record": recorder(tmp_path / "out", "in")}).start()
    hello = encode(control.client_hello("a test"))
    lazy = socket.socket(socket.AF_UNIX)
    lazy.connect(str(d.socket))
    lazy.setblocking(False)
    asked = [encode(control.request(n, "logs", {"lines": 10_000, "follow": True})) for n in range(1, 20)]
    with contextlib.suppress(BlockingIOError):
        lazy.sendall(hello + b"".join(asked))
    relay = d.status()["daemon"]["relay"]["pid"]
    os.kill(relay, signal.SIGSTOP)
    try:
        taken = sorted(_time_of_status(d, hello) for _ in range(11))
        # The median: a machine that does something else besides may well hold up some of them.
        assert taken[5] < 0.1
    finally:
        os.kill(relay, signal.SIGCONT)
        lazy.close()
        (tmp_path / "quiet").touch()


def _time_of_status(d: Daemon, hello: bytes) -> float:
    begin = time.monotonic()
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(d.socket))
        line.sendall(hello + encode(control.request(1, "status", {})))
        decoder = Decoder()
        frames: list[dict[str, Any]] = []
        while not any("ok" in frame for frame in frames):
            data = line.recv(1 << 18)
            assert data, frames
            frames += decoder.feed(data)
    return time.monotonic() - begin
