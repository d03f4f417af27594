"""Services that flood their log, or close what connects them with the daemon."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

import psutil
import pytest

from tests.pulse import Host, Pulse, hosting, obedient
from tests.waiting import wait_until
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import encode

SERVICES = ("close", "close_and_hang", "mute", "print_much", "log_much")
GROWTH = 24  # MiB that the supervisor may take more: each follower may leave 2 MiB of items unread


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    directory = tmp_path_factory.mktemp("output")
    services = {name: obedient(directory) for name in SERVICES}
    with hosting(directory / "d", services) as host:
        yield host


def obey(host: Host, name: str) -> None:
    """Have a service do what it is called after, and wait until it has."""
    host.send(name, f'"{name}"')
    wait_until((host.directory.parent / f"{name}.{name}.done").exists, f"{name} is done", timeout=60)


def supervisor_memory(host: Host) -> float:
    """Return MiB that are resident."""
    assert host.process
    return psutil.Process(host.process.pid).memory_info().rss / 2**20


@contextlib.contextmanager
def flooded(host: Host, name: str) -> Iterator[Pulse]:
    """Have a service write 100 MB while one client follows its log and never reads."""
    before = supervisor_memory(host)
    deaf = socket.socket(socket.AF_UNIX)
    with contextlib.closing(deaf), host.unharmed() as pulse:
        deaf.connect(str(host.socket))
        follow = control.request(1, "logs", {"targets": [name], "lines": 0, "follow": True})
        deaf.sendall(encode(control.client_hello("deaf")) + encode(follow))
        obey(host, name)
        yield pulse
        # A supervisor that reads on and on answers once at the end of the flood, after seconds; how long it
        # takes to answer is measured by benchmarks/figures.py.
        assert sorted(pulse.answers)[len(pulse.answers) * 9 // 10] < 0.5
    assert supervisor_memory(host) - before < GROWTH
    assert host.instance(f"{name}/0")["restarts"] == 0


def test_a_hundred_megabytes_on_standard_output(host: Host):
    with flooded(host, "print_much"):
        pass
    kept = host.logs("print_much").splitlines()
    assert 10 < len(kept) < 100  # 64 KiB of lines with 999 bytes
    assert set(kept) == {"x" * 999}


def test_a_hundred_megabytes_of_log_records(host: Host):
    """What does not get through is dropped by the worker, which goes on, and told with the next record."""
    with flooded(host, "log_much"):
        host.send("log_much", '"log_much"')
        wait_until(lambda: "told again" in host.logs("log_much"))
    said = [line for line in host.stderr().splitlines() if "log_much/0: " in line]
    dropped = re.findall(r": (\d+) log messages dropped: too many at once$", "\n".join(said), re.MULTILINE)
    assert dropped
    assert sum("yyy" in line for line in said) + sum(map(int, dropped)) == 10_000


def test_descriptors_that_are_not_its_own(host: Host):
    """Without its channel a worker would go on unsupervised: it ends, and says why."""
    before = host.instance("close/0")
    with host.unharmed():
        obey(host, "close")
        wait_until(lambda: host.instance("close/0")["pid"] != before["pid"])
        after = host.wait_state("close/0", "ready")
    assert after["last_exit"] == "exit status 75: it has closed its channel to the supervisor"
    assert "the channel to the supervisor cannot be read: Bad file descriptor" in host.logs("close")
    wait_until(lambda: "told again to close" in host.logs("close"), "what it could not acknowledge")


def test_standard_output(host: Host):
    with host.unharmed():
        before = host.instance("mute/0")
        obey(host, "mute")
        host.send("mute", '"mute"')
        wait_until(lambda: "told again to mute" in host.logs("mute"), "log records go another way")
    assert host.instance("mute/0")["pid"] == before["pid"]
    assert host.ctl("restart", "mute").returncode == 0
