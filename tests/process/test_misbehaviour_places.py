"""The places that the daemon needs: disks that are full or read-only, sockets that others have."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlkit import Refused
from tests.daemonkit import COMMANDS, Daemon
from tests.pulse import Host, hosting, obedient
from tests.waiting import wait_until

root = pytest.mark.skipif(os.geteuid() != 0 and "CI" not in os.environ, reason="mounting needs root")


def run(d: Daemon) -> str:
    """Return what a zocalod says that does not start; a line, and no traceback."""
    command = [COMMANDS / "zocalod", "--config", d.config_file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("zocalod: ")
    return done.stderr


@contextlib.contextmanager
def mounted(directory: Path, *options: str | Path) -> Iterator[Path]:
    """Mount something for as long as this lasts."""
    directory.mkdir()
    subprocess.run(["mount", *options, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


# -- Sockets and lock


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with hosting(tmp_path / "d", {}) as host:
        yield host


def test_a_second_daemon(host: Host, tmp_path: Path):
    """On the same directory, and on the same socket with a directory of its own."""
    with host.unharmed():
        assert f"another zocalod (pid {host.process.pid}) runs on state directory" in run(host)
        other = Daemon(host.directory, {}, state_dir=str(tmp_path / "other"))
        assert f"another daemon answers on {host.socket}" in run(other)
    assert host.ctl("version").returncode == 0


def test_a_lock_that_a_killed_daemon_has_lent(tmp_path: Path):
    """Whom it was about to start when it was killed has its descriptors, until it becomes another program."""
    with hosting(tmp_path, {}) as host:
        host.process.kill()
        host.process.wait()
        wait_until(lambda: not lock_is_held(host))
        with (host.state_dir / "zocalod.lock").open() as lent:
            fcntl.flock(lent, fcntl.LOCK_EX)
            release = threading.Timer(0.7, fcntl.flock, (lent, fcntl.LOCK_UN))
            release.start()
            host.start()
            release.join()


def lock_is_held(host: Host) -> bool:
    """Whether somebody has the lock of the state directory."""
    with (host.state_dir / "zocalod.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("name", ["zocalod.sock", "relay.sock"])
def test_a_stale_socket(host: Host, name: str):
    """As a daemon leaves them that was killed, and something else that nobody listens to any more."""
    host.process.kill()
    host.process.wait()
    assert host.socket.exists()
    (host.directory / name).unlink()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(host.directory / name))
    host.start()
    with host.unharmed():
        pass


@pytest.mark.parametrize("name", ["zocalod.sock", "relay.sock"])
def test_a_file_in_the_place_of_a_socket(tmp_path: Path, name: str):
    (tmp_path / name).write_text("precious")
    assert f"{tmp_path / name} exists and is no socket; move it away" in run(Daemon(tmp_path, {}))
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("name", ["zocalod.sock", "relay.sock"])
def test_a_socket_that_somebody_else_serves(tmp_path: Path, name: str):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / name))
        other.listen()
        assert f"another daemon answers on {tmp_path / name}" in run(Daemon(tmp_path, {}))
        assert (tmp_path / name).is_socket()


# -- Disks


@root
def test_a_state_directory_that_is_read_only(tmp_path: Path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs") as disk:
        said = run(Daemon(tmp_path, {}, state_dir=str(disk)))
    assert f"state directory {disk} cannot be used: Read-only file system" in said
    assert "set state_dir" in said


@root
def test_a_disk_that_becomes_read_only(tmp_path: Path):
    """As ext4 does it after an error, for which its mount option `abort` stands."""
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    with mounted(tmp_path / "disk", "-o", "loop,errors=remount-ro", image) as disk:
        with hosting(tmp_path / "d", {"leave": obedient(tmp_path)}, state_dir=str(disk)) as host:
            subprocess.run(["mount", "-o", "remount,abort", disk], check=True)
            with pytest.raises(Refused, match=f"the disk with {disk}.* is full or fails"):
                host.send("pulse", "0")
            stays_manageable(host)
            transport = wait_until(lambda: (t := host.status()["transports"][0])["state"] == "full" and t)
            assert "is full or fails" in transport["detail"]
            assert host.stop() == 0
        assert "Read-only file system" in run(host)


def stays_manageable(host: Host) -> None:
    """Workers are replaced, and commands do what they should, though nothing can be written."""
    pid = host.kill("leave/0")
    wait_until(lambda: host.instance("leave/0")["pid"] not in (pid, None))
    host.wait_state("leave/0", "ready")
    assert host.ctl("restart", "leave").returncode == 0
    assert host.ctl("scale", "leave=2").returncode == 0
    assert host.ctl("scale", "leave=1").returncode == 0
    assert "ready" in host.events("leave")


@root
def test_a_disk_that_is_full(tmp_path: Path):
    """Senders are told; what is there already is worked off; and with space again all goes on by itself."""
    with (
        mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=128m", "tmpfs") as disk,
        hosting(tmp_path / "d", {"leave": obedient(tmp_path)}, state_dir=str(disk)) as host,
    ):
        host.ask("stop", targets=["healthy"], wait=True)
        for number in range(100):
            host.send("pulse", str(number))
        with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(65_536)):
                pass
        sent = fill(host)
        transport = wait_until(lambda: (t := host.status()["transports"][0])["state"] == "full" and t)
        assert f"the disk with {disk}" in transport["detail"]
        stays_manageable(host)
        host.ask("start", targets=["healthy"], wait=True)
        wait_until(lambda: len(host.beats()) == 100 + sent)
        (disk / "ballast").unlink()
        wait_until(lambda: host.status()["transports"][0]["state"] == "connected")
        host.pulses.unlink()
        host.ask("restart", targets=["healthy"], wait=True)
        with host.unharmed():
            pass


def fill(host: Host) -> int:
    """Send until it is refused; return how many messages were taken."""
    sent = 0
    with pytest.raises(Refused, match="is full"):
        while True:
            host.send("pulse", str(100 + sent) + " " * 200_000)
            sent += 1
    return sent
