"""zocalod as a unit of a real systemd: started, reloaded, restarted, killed, cut off."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.systemd.checkout import (
    binds,
    configure,
    ctl,
    drop_in,
    install,
    instances,
    show,
    status,
    wait_ready,
)
from tests.systemd.machine import Machine
from tests.waiting import wait_until

OUT = "/var/lib/zocalo/out"
RECORD = {"class": "trial:Recorder", "environment": {"queue": "in", "file": OUT}, "instances": 3}


@pytest.fixture
def installed(machine) -> Machine:
    one = machine(binds())
    install(one, {"record": RECORD})
    return one


@pytest.fixture
def running(installed) -> Machine:
    installed.start()
    installed.run("systemctl", "enable", "--now", "zocalod")
    return installed


def processes(machine: Machine) -> list[str]:
    """Return the command of every process of the user of the daemon, and what else is in its group."""
    names = machine.run("sh", "-c", "grep -lw $(id -u zocalo) /proc/[0-9]*/status", check=False).stdout
    found = [machine.run("cat", name.replace("status", "cmdline"), check=False) for name in names.split()]
    return [one.stdout.replace("\0", " ") for one in found if one.returncode == 0]


def lines(machine: Machine) -> list[str]:
    try:
        return machine.read(OUT).splitlines()
    except FileNotFoundError:
        return []


def test_systemd_understands_the_units(installed):
    units = [f"/usr/lib/systemd/system/zocalod{kind}" for kind in (".service", "@a.service")]
    installed.start()
    said = installed.run("systemd-analyze", "verify", "--man=no", *units)
    assert said.stdout + said.stderr == ""
    for unit in units:
        installed.run("systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit)


def test_it_starts_with_the_machine_and_says_how_it_is(running):
    assert status(running)["services"][0]["state"] == "ready"  # systemctl has waited for that
    assert show(running, "StatusText") == "3 of 3 instances ready; embedded: connected"
    assert show(running, "NotifyAccess") == "main"
    judged = json.loads(running.run("zocaloctl", "--json", "doctor", check=False).stdout)
    assert [one for one in judged["findings"] if one["level"] == "problem"] == []
    running.stop()
    running.start()
    assert show(running, "ActiveState") == "active"
    assert {one["state"] for one in instances(running).values()} == {"ready"}
    assert int(show(running, "MainPID")) == status(running)["daemon"]["pid"]


def test_a_reload_applies_a_change_and_fails_if_it_is_refused(running):
    pid = show(running, "MainPID")
    configure(running, {"record": {**RECORD, "instances": 5}})
    running.run("systemctl", "reload", "zocalod")
    assert len(instances(running)) == 5
    configure(running, {"record": {**RECORD, "instnces": 5}})
    refused = running.run("systemctl", "reload", "zocalod", check=False)
    assert refused.returncode == 1
    assert "did you mean 'instances'" in running.journal("-u", "zocalod")
    assert len(instances(running)) == 5
    running.run("systemctl", "kill", "--kill-who=main", "--signal=HUP", "zocalod")
    wait_until(lambda: running.journal("-u", "zocalod").count("reload changed nothing") == 2)
    assert (show(running, "ActiveState"), show(running, "MainPID")) == ("active", pid)


def test_a_configuration_that_cannot_be_used_is_not_tried_for_ever(running):
    running.run("systemctl", "stop", "zocalod.socket", "zocalod")
    configure(running, {"record": {**RECORD, "instnces": 5}})
    assert running.run("systemctl", "start", "zocalod", check=False).returncode == 1
    running.run("zocaloctl", "status", check=False, timeout=30)  # which would start it, too
    wait_until(lambda: show(running, "ActiveState") == "failed", timeout=60, every=0.2)
    assert "did you mean 'instances'" in running.journal("-u", "zocalod", "-n", "20")
    configure(running, {"record": RECORD})
    running.run("systemctl", "reset-failed", "zocalod")
    running.run("systemctl", "start", "zocalod")
    assert {one["state"] for one in instances(running).values()} == {"ready"}
    assert show(running, "ActiveState", "zocalod.socket") == "active"


def test_commands_wait_while_it_is_restarted_and_nothing_is_lost(running):
    send = "i=$((i+1)); zocaloctl send in $i >/dev/null || exit"
    script = f"i=0; while [ ! -e /tmp/enough ]; do {send}; done; echo $i"
    sender = subprocess.Popen(
        [*running.enter(), "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    for _ in range(2):
        before = show(running, "MainPID")
        running.run("systemctl", "restart", "zocalod")
        assert show(running, "MainPID") != before
    running.run("touch", "/tmp/enough")
    sent, complaints = sender.communicate(timeout=60)
    assert (sender.returncode, complaints) == (0, "")
    wait_until(lambda: set(lines(running)) == {str(n) for n in range(1, int(sent) + 1)})


def test_whatever_is_killed_comes_back(running):
    before = instances(running)
    running.kill("KILL", before["record/1"]["pid"])
    wait_until(lambda: instances(running)["record/1"]["pid"] not in (None, before["record/1"]["pid"]))
    wait_ready(running)
    assert show(running, "NRestarts") == "0"
    main = show(running, "MainPID")
    running.kill("KILL", main)
    wait_until(lambda: show(running, "NRestarts") == "1")
    wait_ready(running)
    assert show(running, "MainPID") != main
    assert sum("record/" in command for command in processes(running)) == 3


def test_the_watchdog_ends_a_daemon_that_stands_still_and_spares_one_whose_relay_does(installed):
    drop_in(installed, "WatchdogSec=6\n")
    installed.start()
    installed.run("systemctl", "start", "zocalod")
    workers = {name: one["pid"] for name, one in instances(installed).items()}
    main, relay = show(installed, "MainPID"), str(status(installed)["daemon"]["relay"]["pid"])
    installed.kill("STOP", relay)
    wait_until(
        lambda: "has not answered for 2 s" in installed.journal("-u", "zocalod"), timeout=30, every=0.2
    )
    wait_ready(installed)
    assert {name: one["pid"] for name, one in instances(installed).items()} == workers
    installed.kill("STOP", main)
    wait_until(lambda: show(installed, "NRestarts") == "1", timeout=60, every=0.2)
    wait_ready(installed)
    journal = installed.journal("-u", "zocalod")
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    assert show(installed, "MainPID") != main
    assert sum("record/" in command for command in processes(installed)) == 3


def test_the_journal_knows_services_and_instances(running):
    running.kill("KILL", instances(running)["record/1"]["pid"])
    wait_ready(running)
    found = running.journal("ZOCALO_SERVICE=record", "--output=cat")
    assert {f"record/{number} ready" in found for number in range(3)} == {True}
    assert "control socket" not in found
    one = running.journal("ZOCALO_INSTANCE=record/1", "--priority=warning", "--output=json")
    entry = json.loads(one.splitlines()[0])
    assert entry["_SYSTEMD_UNIT"] == "zocalod.service"
    assert entry["ZOCALO_SERVICE"] == "record"
    assert "SIGKILL" in entry["MESSAGE"]
    assert "record/0" not in one


def test_a_power_cut_loses_nothing_that_was_accepted(running):
    ctl(running, "stop", "record")
    for number in range(20):
        ctl(running, "send", "in", str(number))
    running.power_cut()
    running.start()
    wait_until(lambda: set(lines(running)) == {str(number) for number in range(20)}, timeout=60)


def test_a_stop_may_take_longer_than_systemd_waits_for_others(machine):
    one = machine(binds())
    slow = {"class": "trial:Slow", "environment": {"directory": "/var/lib/zocalo"}}
    install(one, {"slow": slow})
    drop_in(one, "TimeoutStopSec=1\n")
    one.start()
    one.run("systemctl", "start", "zocalod")
    ctl(one, "send", "slow", "4")
    wait_until((one.root / "var/lib/zocalo/started").exists)
    one.run("systemctl", "stop", "zocalod.socket", "zocalod")
    assert (one.root / "var/lib/zocalo/finished").exists()
    assert show(one, "Result") == "success"


def test_nothing_is_left_of_it(machine):
    straying = {"class": "straying:Strayer", "environment": {"file": "/var/lib/zocalo/stray"}}
    one = machine(binds())
    install(one, {"stray": straying, "record": RECORD})
    one.start()
    one.run("systemctl", "start", "zocalod")
    one.run("systemctl", "stop", "zocalod.socket", "zocalod")
    assert processes(one) == []
    assert show(one, "Result") == "success"
    root = one.root
    assert not list((root / "sys/fs/cgroup/system.slice").glob("zocalod*"))
    assert list((root / "run/zocalo").iterdir()) == []


def test_several_daemons_on_one_machine(machine):
    one = machine(binds())
    install(one, {})
    for name in ("a", "b"):
        service = {
            "class": "trial:Recorder",
            "environment": {"queue": name, "file": f"/var/lib/zocalo-{name}/out"},
        }
        configure(one, {name: service}, path=f"/etc/zocalo/{name}/zocalod.yaml")
    one.start()
    one.run("systemctl", "enable", "--now", "zocalod@a", "zocalod@b")
    for name in ("a", "b"):
        assert one.run("systemctl", "is-enabled", f"zocalod@{name}.socket").stdout == "enabled\n"
        found = status(one, "--socket", f"/run/zocalo-{name}/zocalod.sock")
        assert [service["name"] for service in found["services"]] == [name]
        assert found["daemon"]["state_dir"] == f"/var/lib/zocalo-{name}"
        one.run("systemctl", "reload", f"zocalod@{name}")


def test_fifty_instances_are_ready_within_two_seconds(machine):
    one = machine(binds())
    install(one, {"record": {**RECORD, "instances": 50}})
    one.start()
    one.run("python3", "-c", "import zocalo_daemon.main, zocalo_daemon.relay.main")  # the disk's part
    one.run("systemctl", "start", "zocalod")
    took = (
        int(show(one, "ActiveEnterTimestampMonotonic")) - int(show(one, "InactiveExitTimestampMonotonic"))
    ) / 1e6
    assert show(one, "StatusText").startswith("50 of 50")
    print(f"systemctl start to 50 instances ready: {took:.2f} s")
