"""The daemon replaces its own code, and nobody but its log and `ps -o lstart` notices."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import zocalo_daemon
from tests.daemonkit import COMMANDS, Daemon
from tests.waiting import wait_until
from zocalo_daemon import strays
from zocalo_daemon.worker.transport import RelayTransport

FAST = {"backoff": "10ms", "max_backoff": "50ms", "limit": 1000}


def pids(daemon: Daemon) -> dict[str, int]:
    return {name: instance["pid"] for name, instance in daemon.instances().items()}


def events(daemon: Daemon, event: str) -> list[dict]:
    items = json.loads(daemon.ctl("--json", "events", "-n", "1000").stdout)
    return [item for item in items if item["event"] == event]


def relays(daemon: Daemon) -> int:
    """Return how many relays were renewed, which is the last step of a reexec."""
    return len([item for item in events(daemon, "renewed") if item["id"] == "relay"])


def printed(file: Path) -> list[int]:
    """Return what a `Counter` has printed, of a file with lines of its log."""
    texts = [json.loads(line)["text"] for line in file.read_text().split("\n")[:-1]]
    return [int(text) for text in texts if text.isdigit()]  # its transport logs, too


def noted(file: Path) -> list[int]:
    """Return the messages that a `Stage` has seen."""
    return [int(line.split()[0]) for line in file.read_text().split("\n")[:-1]]


def reexec(daemon: Daemon) -> dict:
    """Replace the code, and wait until everything is renewed."""
    before = relays(daemon)
    answer = json.loads(daemon.ctl("--json", "reexec").stdout)
    assert answer["pid"] == daemon.process.pid
    wait_until(lambda: relays(daemon) > before, "a new relay", every=0.05)
    return answer


def descriptors(pid: int) -> list[str]:
    """Return what a process has open, without the numbers of its sockets and pipes."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(re.sub(r"\d+", "", str(fd.readlink())))
        except FileNotFoundError:
            continue
    return sorted(found)


def helpers(daemon: Daemon) -> set[int]:
    about = daemon.status()["daemon"]
    return {about["relay"]["pid"], *(server["pid"] for server in about["forkservers"])}


@pytest.fixture
def follow() -> Iterator:
    """Start a command of zocaloctl whose output goes to a file; it is ended with the test."""
    started: list[subprocess.Popen] = []

    def start(daemon: Daemon, file: Path, *args: str) -> subprocess.Popen:
        with file.open("w") as output:
            command = [str(COMMANDS / "zocaloctl"), "--socket", str(daemon.socket), *args]
            started.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_new_code_imports_nothing_that_clients_need_not_wait_for():
    code = "import sys, zocalo_daemon.main, zocalo_daemon.successor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, check=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    loaded = set(done.stdout.split())
    assert "zocalo_daemon.supervision.fleet" in loaded
    heavy = "dataclasses inspect logging json traceback difflib argparse subprocess psutil setproctitle yaml"
    assert loaded & set(heavy.split()) == set()


def test_workers_keep_their_pids_and_all_else_is_renewed(daemon, tmp_path):
    record = {"class": "trial:Recorder", "environment": {"file": str(tmp_path / "out"), "queue": "in"}}
    d = daemon({"record": {**record, "instances": 2}, "reject": {"class": "trial:Rejecter"}}).start()
    old = d.kill("record/1")
    wait_until(lambda: d.instance("record/1")["pid"] not in (None, old), every=0.02)
    d.wait_ready()
    d.ctl("stop", "reject")
    workers, others, about = pids(d), helpers(d), d.instance("record/1")
    answer = reexec(d)
    assert answer["version"] == zocalo_daemon.__version__
    assert answer["gap_s"] < 2  # the figure itself is that of the benchmarks
    assert pids(d) == workers
    assert not helpers(d) & others
    assert d.instance("reject/0")["state"] == "stopped"
    assert d.instance("record/1")["restarts"] == about["restarts"] == 1
    assert d.instance("record/1")["uptime_s"] >= about["uptime_s"]
    d.ctl("send", "in", "1")
    wait_until((tmp_path / "out").exists)
    # The deaths of old workers and of new ones are seen, and new ones can be made.
    for _ in range(2):
        old = d.kill("record/0")
        wait_until(lambda old=old: d.instance("record/0")["pid"] not in (None, old), every=0.02)
        d.wait_state("record/0", "ready")
    d.ctl("restart", "record")
    assert d.stop() == 0
    assert not d.socket.exists()


def test_nothing_is_lost_and_only_what_was_in_hand_comes_twice(daemon, tmp_path):
    stages = {
        "first": {"source": "one", "target": "two", "file": str(tmp_path / "first")},
        "second": {"source": "two", "file": str(tmp_path / "second")},
    }
    services = {
        name: {"class": "trial:Stage", "instances": 2, "restart": FAST, "environment": environment}
        for name, environment in stages.items()
    }
    d = daemon(services, relay={"clients": "user"}).start()
    total = 1500

    def submit() -> None:
        transport = RelayTransport.for_worker(str(d.directory / "relay.sock"), "", "")
        transport.connect()
        for number in range(total):
            transport.send("one", number)
        transport.disconnect()

    sender = threading.Thread(target=submit)
    sender.start()
    file = tmp_path / "second"
    wait_until(lambda: file.exists() and file.stat().st_size > 1000)
    workers = pids(d)
    reexec(d)
    sender.join(60)
    wait_until(lambda: len(set(noted(file))) == total, "all messages", timeout=60, every=0.1)
    assert pids(d) == workers
    for name in stages:
        assert len(noted(tmp_path / name)) - total <= 4  # one in the hand of each worker, at most


def test_followers_and_those_who_wait_notice_nothing(daemon, tmp_path, follow):
    slow = {"class": "trial:Gate", "environment": {"gate": str(tmp_path / "gate")}}
    (tmp_path / "gate").touch()
    d = daemon({"count": {"class": "trial:Counter"}, "slow": slow}).start()
    (tmp_path / "gate").unlink()
    logs = follow(d, tmp_path / "logs", "--json", "logs", "-f", "-n", "0", "count")
    happens = follow(d, tmp_path / "events", "--json", "events", "-f", "-n", "0")
    waiting = follow(d, tmp_path / "restart", "restart", "slow")
    sleeping = follow(d, tmp_path / "patient", "restart", "--timeout", "1.5", "slow")
    wait_until(lambda: d.instance("slow/0")["beside"] and printed(tmp_path / "logs"))
    reexec(d)
    last = printed(tmp_path / "logs")[-1]
    assert sleeping.wait(20) == 1  # its time ran on
    assert "not replaced yet after the time-out" in (tmp_path / "patient").read_text()
    assert waiting.poll() is None
    (tmp_path / "gate").touch()
    assert waiting.wait(20) == 0, (tmp_path / "restart").read_text()
    wait_until(lambda: printed(tmp_path / "logs")[-1] > last + 100)
    found = printed(tmp_path / "logs")
    assert found == list(range(found[0], found[-1] + 1))
    told = [json.loads(line)["event"] for line in (tmp_path / "events").read_text().splitlines()]
    assert {"reexec", "renewed", "started", "ready"} <= set(told)
    assert logs.poll() is None
    assert happens.poll() is None


class TestNewCodeThatFails:
    """The package is copied, so that it can be broken."""

    @pytest.fixture
    def package(self, tmp_path) -> Path:
        copy = tmp_path / "copy" / "zocalo_daemon"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(zocalo_daemon.__file__).parent, copy, ignore=ignored)
        return copy

    def test_the_old_code_goes_on_and_says_why(self, daemon, package):
        env = {"PYTHONPATH": str(package.parent)}
        d = daemon({"reject": {"class": "trial:Rejecter"}}).start(env=env)
        workers, others = pids(d), helpers(d)
        module = package / "supervision" / "roster.py"
        good = module.read_text()
        for code, said in (
            (f"{good}\ndef (\n", f"SyntaxError: invalid syntax ({module}, line "),
            (f"{good}\nimport no_such_package\n", "No module named 'no_such_package'"),
            (good.replace("return self._timers.next()", "return None").replace("parts(self)", "bits(self)"),
             "has no attribute 'parts'"),
        ):  # fmt: skip
            module.write_text(code)
            refused = d.ctl("reexec", check=False)
            assert refused.returncode == 1
            assert refused.stderr.startswith("zocaloctl: the old code goes on: the new code does not start: ")
            assert said in refused.stderr
            assert refused.stderr.count("\n") == 1
        assert [said in one["text"] for one in events(d, "reexec-failed")] == [False, False, True]
        assert (pids(d), helpers(d)) == (workers, others)
        module.write_text(good)
        reexec(d)
        assert pids(d) == workers

    @pytest.mark.parametrize("before", ["        gc.enable()\n", "        daemon.start_helpers()\n"])
    def test_what_no_rehearsal_sees_costs_the_workers_but_not_the_daemon(self, daemon, package, before):
        d = daemon({"reject": {"class": "trial:Rejecter"}}).start(env={"PYTHONPATH": str(package.parent)})
        workers, others = pids(d), helpers(d)
        module = package / "successor.py"
        good = module.read_text()
        assert good.count(before) == 1
        module.write_text(good.replace(before, f"{before[:8]}raise RuntimeError('unforeseen')\n{before}"))
        assert d.ctl("reexec", check=False).returncode != 0
        wait_until(lambda: "RuntimeError: unforeseen; it starts anew, and all workers with it" in d.stderr())
        d.wait_ready()
        assert d.process.poll() is None
        assert not pids(d).items() & workers.items()
        assert not any(map(strays.look, {*workers.values(), *others}))
        assert len(Path(f"/proc/{d.process.pid}/task/{d.process.pid}/children").read_text().split()) == 3
        assert d.stop() == 0

    def test_a_handover_of_another_format_is_refused_by_the_new_code(self, daemon, package):
        d = daemon({"reject": {"class": "trial:Rejecter"}}).start(env={"PYTHONPATH": str(package.parent)})
        module = package / "supervision" / "handover.py"
        module.write_text(module.read_text().replace("\nFORMAT = 2", "\nFORMAT = 7"))
        refused = d.ctl("reexec", check=False)
        assert refused.returncode == 1
        assert "the handover has format 2, and this version knows 7" in refused.stderr

    def test_new_code_of_a_service_waits_for_a_reload(self, daemon, tmp_path):
        services = tmp_path / "mine"
        services.mkdir()
        module = services / "mine.py"
        trial = Path(__file__).parents[1] / "services" / "trial.py"
        module.write_text(trial.read_text())
        (tmp_path / "out").touch()
        version = {"class": "mine:Version", "environment": {"file": str(tmp_path / "out")}}
        d = daemon({"v": version}, runtimes={"default": {"python_path": [str(services)]}}).start()
        module.write_text(trial.read_text().replace('CODE = "one"', 'CODE = "seven"'))
        workers = pids(d)
        reexec(d)
        assert pids(d) == workers
        assert "services.v: its code has changed" in d.ctl("logs", "zocalod").stdout
        assert "one" in (tmp_path / "out").read_text()
        assert "its code has changed" in d.ctl("reload").stdout
        assert pids(d) != workers
        assert "seven" in (tmp_path / "out").read_text()


def test_a_signal_does_the_same_and_others_are_not_lost(daemon):
    d = daemon({"reject": {"class": "trial:Rejecter"}}).start()
    workers = pids(d)
    d.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: "takes over" in d.stderr(), every=0.0005)
    d.process.send_signal(signal.SIGHUP)  # while nobody handles it
    wait_until(lambda: "reload: nothing has changed" in d.stderr())
    assert events(d, "reexec")
    assert pids(d) == workers
    assert d.stop() == 0


def test_a_worker_that_dies_while_the_code_is_replaced_is_missed(daemon):
    d = daemon({"reject": {"class": "trial:Rejecter", "instances": 3, "restart": FAST}}).start()
    workers = pids(d)
    d.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: "takes over" in d.stderr(), every=0.0005)
    os.kill(workers["reject/1"], signal.SIGKILL)
    wait_until(lambda: pids(d)["reject/1"] not in (None, workers["reject/1"]), every=0.05)
    d.wait_ready()
    assert "signal SIGKILL" in d.instance("reject/1")["last_exit"]
    now = pids(d)
    assert (now["reject/0"], now["reject/2"]) == (workers["reject/0"], workers["reject/2"])


def test_workers_of_the_old_code_end_with_the_new_one(daemon):
    d = daemon({"reject": {"class": "trial:Rejecter", "instances": 3}}).start()
    workers = pids(d)
    reexec(d)
    below = {*workers.values(), *helpers(d)}
    d.process.kill()
    d.process.wait()
    # Not by /proc/PID alone: an earlier test may have made this process a subreaper, which reaps none.
    wait_until(lambda: not any(map(strays.look, below)), "their end", timeout=5)


def test_twenty_in_a_row_leak_nothing(daemon, follow, tmp_path):
    d = daemon({"reject": {"class": "trial:Rejecter", "instances": 2}}).start()
    follow(d, tmp_path / "events", "events", "-f")
    workers = pids(d)
    reexec(d)
    before = descriptors(d.process.pid)
    done = 1
    for _ in range(19):
        d.process.send_signal(signal.SIGUSR2)
        done += 1
        wait_until(lambda done=done: (tmp_path / "events").read_text().count(" relay renewed") == done)
    wait_until(lambda: descriptors(d.process.pid) == before, str(before), every=0.05)
    assert pids(d) == workers
    children = Path(f"/proc/{d.process.pid}/task/{d.process.pid}/children").read_text().split()
    assert len(children) == len(workers) + 2  # the relay and one forkserver


def test_it_is_refused_while_the_daemon_reloads(daemon, tmp_path, follow):
    modules = tmp_path / "modules"
    modules.mkdir()
    slow = "import pathlib, time\nwhile not pathlib.Path({!r}).exists():\n    time.sleep(0.01)\n"
    (modules / "slow.py").write_text(slow.format(str(tmp_path / "go")))
    services = {"reject": {"class": "trial:Rejecter"}}
    d = daemon(services).start()
    path = [str(Path(__file__).parents[1] / "services"), str(modules)]
    d.configure(services, runtimes={"default": {"python_path": path, "preload": ["slow"]}})
    reloading = follow(d, tmp_path / "reload", "reload")
    wait_until(lambda: "asked for reload" in d.stderr())
    refused = d.ctl("reexec", check=False)
    assert refused.returncode == 1
    assert refused.stderr == "zocaloctl: a reload is under way; try again when it has ended\n"
    (tmp_path / "go").touch()
    assert reloading.wait(20) == 0
    reexec(d)


def test_the_pipe_of_a_worker_keeps_half_a_line(daemon, tmp_path):
    environment = {"gate": str(tmp_path / "gate")}
    d = daemon({"half": {"class": "trial:HalfLine", "environment": environment}}).start()
    wait_until((tmp_path / "gate.half").exists)
    reexec(d)
    (tmp_path / "gate").touch()
    wait_until(lambda: "the first half and the second" in d.ctl("logs", "half").stdout)
