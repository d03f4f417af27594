"""Services that stand still: seen, named, ended or waited for, and the service beside them goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.pulse import Host, hosting, obedient
from tests.waiting import wait_until

LIMIT = "1s"  # of no progress


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    directory = tmp_path_factory.mktemp("hangs")
    sleeper = {"class": "misbehaving:Sleeper", "environment": {"stuck": str(directory / "stuck")}}
    services = {
        "sleeper": {**sleeper, "hang_timeout": LIMIT},
        "hang": obedient(directory, hang_timeout=LIMIT),
        "stopped": obedient(directory, hang_timeout=LIMIT),
    }
    with hosting(directory / "d", services) as host:
        yield host


def test_hang_in_initializing(host: Host):
    stuck = host.directory.parent / "stuck"
    stuck.touch()
    with host.unharmed():
        host.kill("sleeper/0")
        wait_until(lambda: "hung no progress for 1 s in initializing()" in host.events("sleeper"))
        stuck.unlink()
        after = host.wait_state("sleeper/0", "ready")
    assert "killed, because it made no progress for 1 s in initializing()" in after["last_exit"]
    assert "misbehaving.py" in host.logs("sleeper")
    assert "in initializing" in host.logs("sleeper")


def test_hang_over_a_message(host: Host):
    with host.unharmed():
        host.send("hang", '"hang"')
        wait_until((host.directory.parent / "hang.hang.done").exists, "it is redelivered")
        after = host.wait_state("hang/0", "ready")
    assert "killed, because it made no progress for 1 s on the delivery in hand" in after["last_exit"]
    assert "in hang" in host.logs("hang")


def test_sigstop(host: Host):
    """The kernel has stopped it: that is said, with the command that helps; and it is no hang."""
    pid = host.instance("stopped/0")["pid"]
    with host.unharmed():
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: f"it goes on with: kill -CONT {pid}" in host.events("stopped"))
            assert f"kill -CONT {pid}" in (host.instance("stopped/0")["reason"] or "")
            assert f"kill -CONT {pid}" in host.ctl("status", check=False).stdout
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: "resumed" in host.events("stopped"))
        host.send("stopped", '"on"')
        wait_until((host.directory.parent / "stopped.on.done").exists)
    after = host.instance("stopped/0")
    assert (after["pid"], after["restarts"], after["reason"]) == (pid, 0, None)
