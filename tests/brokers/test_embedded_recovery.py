"""The embedded broker after the worst: killed processes and full disks, for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers.driving import Driver
from zocalo_daemon.brokers.base import Confirmed, Delivered, Outcome, Refused, SettlementFailed
from zocalo_daemon.errors import ZocaloError

# Takes from `in` and sends on to `out`, says on stdout what is safe, and never ends by itself. A line is
# written only after the poll that confirmed it, so the parent knows no more than the disk does.
_CHILD = """
import os, sys
from pathlib import Path
from zocalo_daemon.brokers.base import *
from zocalo_daemon.brokers.embedded import EmbeddedBroker

broker = EmbeddedBroker("child", Path(sys.argv[1]))
broker.open()
broker.subscribe(1, Source(Kind.QUEUE, "in"))
broker.credit(1, 20)
sent = 0
while True:
    for _ in range(7):
        sent += 1
        broker.publish(sent, Publication(Kind.QUEUE, "in", {"n": sent}, b"%d" % sent))
    lines = []
    for event in broker.poll():
        if isinstance(event, Delivered):
            token = -event.headers["n"]
            broker.publish(token, Publication(Kind.QUEUE, "out", event.headers, event.body))
            broker.settle(Settlement(event.tag, Outcome.ACCEPT))
            broker.credit(1, 1)
        elif isinstance(event, Confirmed):
            lines.append(b"%d\\n" % event.token)
    os.write(1, b"".join(lines))
"""


def drain(d: Driver, name: str) -> list[Delivered]:
    """Take everything out of a queue."""
    d.subscribe(len(d.names) + 1, name, credit=1_000_000)
    taken: list[Delivered] = []
    while new := d.deliveries():
        taken += new
    return taken


@pytest.mark.parametrize("lines", [1, 50, 2000])
def test_killed_in_the_middle_nothing_is_lost_and_nothing_comes_twice(tmp_path, lines):
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path / "q")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    confirmed = [int(child.stdout.readline()) for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    confirmed += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    assert child.wait() == -signal.SIGKILL

    d = Driver(tmp_path / "q")
    waiting = [x.headers["n"] for x in drain(d, "in")]
    out = [x.headers["n"] for x in drain(d, "out")]
    assert waiting == sorted(waiting)
    assert out == sorted(out)
    # Send and settlement were one batch: each message is in exactly one of the two queues.
    assert len(set(waiting) | set(out)) == len(waiting) + len(out)
    assert {n for n in confirmed if n > 0} <= set(waiting) | set(out)
    assert {-n for n in confirmed if n < 0} <= set(out)
    d.broker.close()


def test_the_lock_ends_with_the_process(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path / "q")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(ZocaloError, match="in use by another process"):
        Driver(tmp_path / "q")
    child.kill()
    child.stdout.read()
    child.wait()
    Driver(tmp_path / "q").broker.close()


# -- Full and read-only disks


def mount(directory: Path, options: str) -> None:
    """Mount a small filesystem; needs root, which CI has."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0 and "CI" not in os.environ:
        pytest.skip("mounting needs root")
    mount(tmp_path / "disk", "size=20m")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def fill(d: Driver) -> int:
    """Send until it is refused; return how many messages are stored."""
    stored = 0
    while True:
        for _ in range(10):
            d.send("a", os.urandom(10_000))
        events = d.poll()
        if refused := [e for e in events if isinstance(e, Refused)]:
            assert len(refused) == 10
            assert {e.code for e in refused} == {"full"}
            assert str(d.broker._directory) in refused[0].reason
            return stored
        stored += len([e for e in events if isinstance(e, Confirmed)])


def use_up(ballast: Path) -> None:
    """Fill the disk with a file."""
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue


def test_a_full_disk_loses_nothing_and_recovers(small_disk):
    d = Driver(small_disk / "q", reserve=5 * 1024 * 1024)
    stored = fill(d)
    status = d.broker.status()
    assert status.state == "full"
    assert str(small_disk) in status.detail
    assert d.info("a") == (stored, 0, 0)
    assert 0.9 < d.broker.timeout() <= 1.0

    # Settlements go on, from the reserve.
    d.subscribe(1, "a", credit=stored // 2)
    for delivery in d.deliveries():
        d.settle(delivery)
        assert not [e for e in d.poll() if isinstance(e, SettlementFailed)]
    assert d.info("a") == (stored - stored // 2, 0, 0)

    # With their space it can store again, without being told.
    for _ in range(5):
        d.now += 1.1
        d.poll()
    assert d.broker.status().state == "connected"
    d.stored("a", os.urandom(10_000))
    d.broker.close()
    d = Driver(small_disk / "q", reserve=5 * 1024 * 1024)
    assert len(drain(d, "a")) == stored - stored // 2 + 1
    d.broker.close()


def test_a_disk_that_others_filled(small_disk):
    d = Driver(small_disk / "q", reserve=4096)
    for _ in range(20):
        d.stored("a")
    d.subscribe(1, "a", credit=1)
    delivery = d.one()
    ballast = small_disk / "ballast"
    use_up(ballast)
    d.send("a", os.urandom(500_000))
    d.settle(delivery, Outcome.ACCEPT)
    kinds = [type(e) for e in d.poll()]
    assert kinds == [Refused, SettlementFailed]
    assert d.info("a") == (19, 0, 1)
    ballast.unlink()
    d.now += 1.1
    d.settle(delivery, Outcome.ACCEPT)
    d.stored("a", os.urandom(500_000))
    assert d.broker.status().state == "connected"
    assert d.info("a") == (20, 0, 0)
    d.broker.close()


def test_a_disk_full_from_the_start_can_be_emptied(small_disk):
    d = Driver(small_disk / "q", reserve=5 * 1024 * 1024)
    stored = fill(d)
    d.broker.close()
    ballast = small_disk / "ballast"
    use_up(ballast)
    os.truncate(ballast, ballast.stat().st_size - 256 * 1024)  # what SQLite needs at least
    d = Driver(small_disk / "q", reserve=5 * 1024 * 1024)
    assert d.broker.status().state == "full"
    d.subscribe(1, "a", credit=10)
    for delivery in d.deliveries():
        d.settle(delivery)
    d.poll()
    assert d.info("a") == (stored - 10, 0, 0)
    d.broker.close()


def test_a_read_only_directory_is_explained(small_disk):
    (small_disk / "q").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ZocaloError, match=r"cannot keep queues in .*/q: Read-only file system"):
        Driver(small_disk / "q")
