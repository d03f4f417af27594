"""Services that do not stop when they should, or that leave something behind: all of it ends in time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.pulse import Host, hosting, obedient
from tests.waiting import wait_until

STOP_TIMEOUT = 1.0  # seconds
SERVICES = ("threads", "deaf", "deaf_and_hang", "leave_children")


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    directory = tmp_path_factory.mktemp("stop")
    services = {name: obedient(directory, stop_timeout=f"{STOP_TIMEOUT}s") for name in SERVICES}
    with hosting(directory / "d", services) as host:
        yield host


def obey(host: Host, name: str) -> int:
    """Have a service do what it is called after; return its pid once it is at it."""
    host.send(name, f'"{name}"')
    wait_until((host.directory.parent / f"{name}.{name}").exists)
    return host.instance(f"{name}/0")["pid"]


def stop(host: Host, name: str) -> float:
    """Stop it and return the seconds that it took."""
    began = time.monotonic()
    (result,) = host.ask("stop", targets=[name], wait=True)["results"]
    took = time.monotonic() - began
    assert result["state"] == "stopped"
    assert result["ok"]
    assert host.instance(f"{name}/0")["pid"] is None
    return took


def test_threads_that_never_end(host: Host):
    with host.unharmed():
        obey(host, "threads")
        wait_until((host.directory.parent / "threads.threads.done").exists)
        assert stop(host, "threads") < STOP_TIMEOUT
    assert "ending with threads still running: endless-0, endless-1" in host.logs("threads")


def test_sigterm_that_is_blocked(host: Host):
    with host.unharmed():
        obey(host, "deaf")
        wait_until((host.directory.parent / "deaf.deaf.done").exists)
        assert stop(host, "deaf") < STOP_TIMEOUT


def test_sigterm_that_is_blocked_by_one_that_hangs(host: Host):
    with host.unharmed():
        pid = obey(host, "deaf_and_hang")
        assert stop(host, "deaf_and_hang") >= STOP_TIMEOUT
        assert not psutil.pid_exists(pid)
    told = host.instance("deaf_and_hang/0")
    assert told["last_exit"] == "signal SIGKILL: killed, because it had not stopped after 1 s"
    assert "killed, because it had not stopped after 1 s" in host.events("deaf_and_hang")
    # What it had in hand is there for the next one.
    (queue,) = host.ask("queues", patterns=["deaf_and_hang"])
    assert queue["ready"] == 1
    host.ask("start", targets=["deaf_and_hang"], wait=True)
    wait_until((host.directory.parent / "deaf_and_hang.deaf_and_hang.done").exists)


def test_processes_that_outlive_the_one_that_forked_them(host: Host):
    """One in the worker's process group, one that has left it; both ignore SIGTERM."""
    file = host.directory.parent / "children"
    with host.unharmed():
        obey(host, "leave_children")
        children = wait_until(lambda: file.exists() and len(found := file.read_text().split()) == 2 and found)
        family = [psutil.Process(int(pid)) for pid in children]
        os.kill(host.instance("leave_children/0")["pid"], 9)
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        host.wait_state("leave_children/0", "ready")
