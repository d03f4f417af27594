"""What systemd is told, heard by a socket of the test's own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.notifykit import Hearer
from tests.waiting import wait_until


@pytest.fixture
def hearer(tmp_path):
    with Hearer(tmp_path / "notify") as one:
        yield one


def fragile(tmp_path, **more):
    return {"class": "trial:Fragile", "environment": {"broken": str(tmp_path / "broken")}, **more}


def test_it_is_ready_once_its_services_are(daemon, hearer, tmp_path):
    d = daemon({"fragile": fragile(tmp_path, instances=3)}).start(env=hearer.environment())
    said = hearer.wait("READY")
    assert said["MAINPID"] == str(d.process.pid)
    assert said["STATUS"] == "3 of 3 instances ready; embedded: connected"
    assert not [one for one in hearer.listen() if one.get("STATUS") == said["STATUS"]][1:]


def test_a_service_that_fails_does_not_keep_it_from_being_ready(daemon, hearer, tmp_path):
    (tmp_path / "broken").touch()
    restart = {"limit": 1, "backoff": "10ms"}
    daemon({"fragile": fragile(tmp_path, restart=restart)}).start(ready=False, env=hearer.environment())
    hearer.wait("READY")
    failed = "0 of 1 instances ready; failed: fragile/0; embedded: connected"
    wait_until(lambda: hearer.statuses()[-1] == failed)


def test_a_stop_is_announced_with_the_time_that_it_may_take(daemon, hearer, tmp_path):
    d = daemon({"slow": {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}}})
    d.start(env=hearer.environment())
    d.ctl("send", "slow", "1.5")
    wait_until((tmp_path / "started").exists)
    d.process.send_signal(signal.SIGTERM)
    said = hearer.wait("STOPPING")
    assert int(said["EXTEND_TIMEOUT_USEC"]) == 30_000_000
    assert said["STATUS"] == "stopping: 1 of 1 instances have still to finish"
    assert d.process.wait(30) == 0


def test_a_reload_begins_and_ends(daemon, hearer, tmp_path):
    d = daemon({"fragile": fragile(tmp_path)}).start(env=hearer.environment())
    hearer.wait("READY")
    before, began = len(hearer.heard), time.monotonic()
    d.configure({"fragile": fragile(tmp_path, instances=2)})
    d.process.send_signal(signal.SIGHUP)
    assert began <= int(hearer.wait("RELOADING", before)["MONOTONIC_USEC"]) / 1e6 <= time.monotonic()
    hearer.wait("READY", before)
    wait_until(lambda: hearer.statuses()[-1].startswith("2 of 2"))


def test_a_reload_that_is_refused_ends_too(daemon, hearer, tmp_path):
    d = daemon({"fragile": fragile(tmp_path)}).start(env=hearer.environment())
    hearer.wait("READY")
    before = len(hearer.heard)
    d.config_file.write_text("nonsense: true\n")
    d.process.send_signal(signal.SIGHUP)
    hearer.wait("READY", before)
    told = [name for one in hearer.heard[before:] for name in one if name in ("RELOADING", "READY")]
    assert told == ["RELOADING", "READY"]
    wait_until(lambda: "the last reload changed nothing" in hearer.statuses()[-1])
    assert f"{d.config_file}:1" in hearer.statuses()[-1], hearer.statuses()
    d.configure({"fragile": fragile(tmp_path)})
    d.ctl("reload")
    wait_until(lambda: hearer.statuses()[-1] == "1 of 1 instances ready; embedded: connected")


def test_new_code_goes_on_telling(daemon, hearer, tmp_path):
    d = daemon({"fragile": fragile(tmp_path)}).start(env=hearer.environment(watchdog=30))
    hearer.wait("READY")
    hearer.wait("WATCHDOG")
    before = len(hearer.listen())
    d.ctl("reexec")
    assert hearer.wait("READY", before)["MAINPID"] == str(d.process.pid)
    hearer.wait("WATCHDOG", before)


def test_what_it_starts_knows_nothing_of_the_manager(daemon, hearer, tmp_path):
    environment = {**hearer.environment(watchdog=30), "LISTEN_FDNAMES": "control"}
    d = daemon({"fragile": fragile(tmp_path)}).start(env=environment)
    helpers = d.status()["daemon"]
    for pid in (helpers["relay"]["pid"], helpers["forkservers"][0]["pid"], d.instance("fragile/0")["pid"]):
        names = {one.split("=")[0] for one in Path(f"/proc/{pid}/environ").read_text().split("\0")}
        assert "ZOCALO_DAEMON_LIFE" in names
        assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDNAMES"}


class TestWatchdog:
    def test_a_relay_that_is_stopped_is_replaced_and_its_workers_go_on(self, daemon, hearer, tmp_path):
        d = daemon({"fragile": fragile(tmp_path)}).start(env=hearer.environment(watchdog=3))
        worker, relay = d.instance("fragile/0")["pid"], d.status()["daemon"]["relay"]["pid"]
        os.kill(relay, signal.SIGSTOP)
        wait_until(lambda: d.status()["daemon"]["relay"]["pid"] not in (None, relay), timeout=30)
        assert "relay has not answered for 1 s, and is killed" in d.stderr()
        d.wait_ready()
        assert d.instance("fragile/0")["pid"] == worker
        before = len(hearer.listen())
        hearer.wait("WATCHDOG", before)

    def test_a_supervisor_that_is_stopped_does_not_feed_it(self, daemon, hearer, tmp_path):
        d = daemon({"fragile": fragile(tmp_path)}).start(env=hearer.environment(watchdog=0.6))
        hearer.wait("WATCHDOG")
        os.kill(d.process.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: state_of(d.process.pid) == "T")
            before = len(hearer.listen())
            time.sleep(0.7)  # nothing to wait for: nothing must come
            assert len(hearer.listen()) == before
        finally:
            os.kill(d.process.pid, signal.SIGCONT)
        hearer.wait("WATCHDOG", before)

    def test_without_the_request_nothing_is_fed(self, daemon, hearer, tmp_path):
        daemon({"fragile": fragile(tmp_path)}).start(env=hearer.environment())
        hearer.wait("READY")
        assert not any("WATCHDOG" in one for one in hearer.heard)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
