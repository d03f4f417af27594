"""The daemon tells the statuses of its workers on its broker, hears those of others, and obeys commands."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

OPEN = {"relay": {"clients": "user"}}  # the test itself listens by the relay


class Monitor:
    """Hears transient.status, as the status_monitor of workflows does."""

    def __init__(self, d: Daemon) -> None:
        self.transport = RelayTransport.for_worker(d.socket.with_name("relay.sock"), "")
        self.transport.connect()
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self.transport.subscribe_broadcast("transient.status", self._hear, retroactive=True)

    def _hear(self, header: dict[str, Any], message: Any) -> None:
        self.heard.append((time.monotonic(), message))

    def of(self, instance: str) -> list[dict[str, Any]]:
        """Return the statuses of an instance so far."""
        return [status for _, status in self.heard if status.get("instance") == instance]

    def wait(self, instance: str, status: int) -> dict[str, Any]:
        """Wait until an instance has told a status, and return it."""

        def found() -> Any:
            return next((one for one in self.of(instance) if one["status"] == status), None)

        return wait_until(found, f"status {status} of {instance}")


@pytest.fixture
def monitor() -> Iterator[Callable[[Daemon], Monitor]]:
    """Return a function that makes a Monitor."""
    made: list[Monitor] = []

    def make(d: Daemon) -> Monitor:
        made.append(Monitor(d))
        return made[-1]

    yield make
    for one in made:
        one.transport.disconnect()


def cluster(d: Daemon) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "cluster").stdout)["services"]


def seen(d: Daemon, instance: str) -> dict[str, Any] | None:
    return next((one for one in cluster(d) if one.get("instance") == instance), None)


def test_a_monitor_hears_every_worker_through_its_life(daemon, monitor, tmp_path):
    """The row `status broadcast`: all fields, at least every 6 s, and what a service is doing."""
    d = daemon(
        {
            "slow": {"class": "trial:Slow", "tag": "blue", "environment": {"directory": str(tmp_path)}},
            "mortal": {"class": "trial:Rejecter", "restart": {"policy": "never"}},
        },
        **OPEN,
    ).start(env={"JOB_ID": "17", "SGE_CELL": "one"})
    listener = monitor(d)
    idle = listener.wait("slow/0", 2)
    pid = d.instance("slow/0")["pid"]
    machine = ".".join(reversed(os.uname().nodename.split(".")))
    assert idle["utilization"].keys() <= {"1", "2", "3"}
    assert {**idle, "utilization": None, "zocalo": None, "workflows": None} == {
        "host": f"{machine}.{pid}",
        "status": 2,
        "statustext": "idle",
        "service": "Slow",
        "serviceclass": "Slow",
        "utilization": None,
        "workflows": None,
        "zocalo": None,
        "tag": "blue",
        "cluster_JOB_ID": "17",
        "cluster_SGE_CELL": "one",
        "instance": "slow/0",
    }
    assert idle["workflows"] and idle["zocalo"]
    d.ctl("send", "slow", "7")
    listener.wait("slow/0", 4)
    d.kill("mortal/0")
    listener.wait("mortal/0", 7)
    d.ctl("stop", "--no-wait", "slow")
    listener.wait("slow/0", -2)
    times = [at for at, status in listener.heard if status.get("instance") == "slow/0"]
    assert max(later - earlier for earlier, later in pairwise(times)) < 8, (
        "6 s, on a machine that has time for it"
    )
    assert (tmp_path / "finished").exists()
    wait_until(lambda: seen(d, "slow/0") is None, "the end of it in the cluster")


def wake_ups(pid: int) -> int:
    """Return how often a process has waited so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt_switches")).split()[1])


def test_an_idle_supervisor_sleeps_while_statuses_are_told_and_wakes_up_for_work(daemon, monitor, tmp_path):
    d = daemon({"slow": {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}}}, **OPEN).start()
    listener = monitor(d)
    listener.wait("slow/0", 2)

    def sleeps() -> bool:
        before = wake_ups(d.process.pid)
        time.sleep(3.0)  # the time that is looked at
        return wake_ups(d.process.pid) == before

    wait_until(sleeps, "three seconds without a wake-up", timeout=60)
    told = len(listener.of("slow/0"))
    wait_until(lambda: len(listener.of("slow/0")) >= told + 2, "statuses that are repeated", timeout=30)
    assert listener.of("slow/0")[-1]["status"] == 2
    d.ctl("send", "slow", "7")
    listener.wait("slow/0", 4)
    d.ctl("stop", "--no-wait", "slow")
    listener.wait("slow/0", -2)


def test_a_broadcast_shutdown_drains_and_the_daemon_does_not_restart_it(daemon, tmp_path):
    """The row `commands`: class name and entry-point name, host, both; a graceful drain."""
    d = daemon(
        {
            "slow": {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}},
            "entry": {"class": "Dispatcher", "instances": 3},
        }
    ).start()
    d.ctl("send", "slow", "1")
    wait_until((tmp_path / "started").exists, "the message in hand")
    assert d.ctl("shutdown", "--service", "Slow").stdout == "Stopping all instances of Slow\n"
    assert d.wait_state("slow/0", "stopped")["reason"].startswith("by a broadcast command at ")
    assert (tmp_path / "finished").exists() and (tmp_path / "shutdown").exists()
    one = wait_until(lambda: seen(d, "entry/1"), "its status")
    both = {"command": "shutdown", "host": one["host"]}
    d.ctl("broadcast", "command", json.dumps({**both, "service": "JSONLines"}))
    d.ctl("broadcast", "command", json.dumps({"command": "shutdown", "service": None}))
    d.ctl("broadcast", "command", "[1]")
    d.ctl("broadcast", "command", json.dumps({**both, "service": "Dispatcher"}))
    d.wait_state("entry/1", "stopped")
    assert [d.instance(f"entry/{n}")["state"] for n in (0, 2)] == ["ready", "ready"]
    other = wait_until(lambda: seen(d, "entry/0"), "its status")
    d.ctl("shutdown", other["host"])
    d.wait_state("entry/0", "stopped")
    d.ctl("start", "entry/0")
    d.wait_state("entry/0", "ready")
    d.ctl("shutdown", "-s", "none", "--host", "elsewhere.1.2")
    d.ctl("shutdown", "-s", "Dispatcher")
    for number in (0, 2):
        d.wait_state(f"entry/{number}", "stopped")
    assert d.ctl("shutdown", check=False).returncode == 2
    assert "broadcast command by embedded: shutdown service Slow: slow/0" in d.stderr()


def test_the_cluster_shows_others_and_survives_relay_and_reexec(daemon, monitor):
    d = daemon({"plain": {"class": "trial:Rejecter"}}, **OPEN).start()
    other = {"host": "far.away.4711", "status": 4, "statustext": "processing", "service": "Theirs"}
    for status in (other, {**other, "host": "far.away.1", "status": "none"}, "garbage"):
        d.ctl("broadcast", "transient.status", json.dumps(status))
    wait_until(lambda: any(one["host"] == other["host"] for one in cluster(d)), "the other host")
    assert not [one for one in cluster(d) if one["host"] == "far.away.1"]
    own = wait_until(lambda: seen(d, "plain/0"), "the own one")
    shown = d.ctl("cluster").stdout
    assert "2 services on 2 hosts" in shown and "Theirs" in shown and own["host"] in shown
    assert "far.away.4711" not in d.ctl("cluster", "Rej*").stdout
    os.kill(d.status()["daemon"]["relay"]["pid"], signal.SIGKILL)
    wait_until(lambda: d.status()["daemon"]["relay"]["state"] == "ready", "another relay")
    again = wait_until(lambda: seen(d, "plain/0"), "the own one, of the new relay")
    assert (again["host"], again["serviceclass"]) == (own["host"], "Rejecter")
    d.ctl("reexec")
    listener = monitor(d)
    listener.wait("plain/0", 2)
    d.ctl("shutdown", own["host"])
    d.wait_state("plain/0", "stopped")


def test_statuses_are_not_broadcast_if_the_configuration_says_so(daemon, monitor):
    services = {"plain": {"class": "trial:Rejecter"}}
    d = daemon(services, status_broadcast=False, **OPEN).start()
    listener = monitor(d)
    wait_until(lambda: seen(d, "plain/0"), "the own one, which zocaloctl knows all the same")
    assert not listener.heard
    d.configure(services, status_broadcast=True, **OPEN)
    assert "status_broadcast: false -> true" in d.ctl("reload").stdout
    listener.wait("plain/0", 2)
