"""The real daemon, as an operator meets it: start, death, stop, restart, scale, reload, logs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.daemonkit import COMMANDS, SERVICES
from tests.waiting import wait_until


def recorder(file, queue="in", **more):
    return {"class": "trial:Recorder", "environment": {"queue": queue, "file": str(file)}, **more}


def lines(file):
    return file.read_text().splitlines() if file.exists() else []


def test_status_shows_every_instance(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out", instances=2)}).start()
    document = d.status()
    assert document["daemon"]["state"] == "running"
    assert document["daemon"]["pid"] == d.process.pid
    (service,) = document["services"]
    assert (service["name"], service["wanted"], service["state"]) == ("record", 2, "ready")
    assert [i["id"] for i in service["instances"]] == ["record/0", "record/1"]
    assert all(psutil.pid_exists(i["pid"]) for i in service["instances"])
    assert all(i["restarts"] == 0 and i["last_exit"] is None for i in service["instances"])
    (transport,) = document["transports"]
    assert (transport["driver"], transport["state"]) == ("embedded", "connected")


def test_processes_are_named(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    children = psutil.Process(d.process.pid).children()
    titles = {" ".join(child.cmdline()).strip() for child in children}
    assert {"zocalod: relay", "zocalod: forkserver default", "zocalod: record/0"} <= titles


def test_messages_reach_a_service_and_are_counted(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    for number in range(5):
        d.ctl("send", "in", json.dumps({"n": number}))
    wait_until(lambda: len(lines(tmp_path / "out")) == 5)
    assert lines(tmp_path / "out") == [str({"n": number}) for number in range(5)]
    wait_until(lambda: d.instance("record/0")["processed"] == 5)


def test_files_of_services_get_the_mode_that_the_daemon_was_started_for(daemon, tmp_path):
    before = os.umask(0o027)
    try:
        d = daemon({"record": recorder(tmp_path / "out")}).start()
    finally:
        os.umask(before)
    d.ctl("send", "in", "1")
    wait_until(lambda: lines(tmp_path / "out"))
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640
    assert d.state_dir.stat().st_mode & 0o777 == 0o700


def test_killed_worker_is_replaced_at_once_and_the_second_death_waits(daemon, tmp_path):
    service = recorder(tmp_path / "out", restart={"backoff": "30s"})
    d = daemon({"record": service}).start()
    old = d.kill("record/0")
    instance = wait_until(lambda: (i := d.instance("record/0"))["pid"] not in (None, old) and i, timeout=5)
    d.wait_state("record/0", "ready")
    assert instance["restarts"] == 1
    assert instance["last_exit"] == "signal SIGKILL: killed from outside the daemon"
    d.kill("record/0")
    waiting = d.wait_state("record/0", "backoff")
    assert 10 < waiting["next_start_s"] <= 30
    assert "SIGKILL" in waiting["reason"]
    assert d.ctl("status", check=False).returncode == 3
    d.ctl("start", "record")  # an operator need not wait
    assert d.instance("record/0")["state"] == "ready"


def test_too_many_deaths_end_in_failed(daemon, tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    restart = {"backoff": "10ms", "max_backoff": "20ms", "limit": 3}
    service = {"class": "trial:Fragile", "environment": {"broken": str(broken)}, "restart": restart}
    d = daemon({"fragile": service}).start(ready=False)
    failed = d.wait_state("fragile/0", "failed")
    assert "4 deaths" in failed["reason"]
    assert "it is broken" in failed["reason"]
    broken.unlink()
    d.ctl("start", "fragile")
    assert d.instance("fragile/0")["state"] == "ready"


@pytest.mark.parametrize(
    ("policy", "state"), [("always", "backoff"), ("on-failure", "stopped"), ("never", "stopped")]
)
def test_policy_decides_about_a_service_that_ends_by_itself(daemon, policy, state):
    restart = {"policy": policy, "backoff": "60s"}
    d = daemon({"quitter": {"class": "trial:Quitter", "restart": restart}}).start(ready=False)
    d.wait_state("quitter/0", state)


def test_stop_finishes_the_delivery_in_hand(daemon, tmp_path):
    d = daemon({"slow": {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}}}).start()
    d.ctl("send", "slow", "1")
    wait_until((tmp_path / "started").exists)
    d.ctl("stop", "slow")
    assert (tmp_path / "finished").exists()
    assert (tmp_path / "shutdown").exists()
    instance = d.instance("slow/0")
    assert (instance["state"], instance["pid"], instance["restarts"]) == ("stopped", None, 0)
    queue = next(q for q in json.loads(d.ctl("--json", "queues").stdout) if q["name"] == "slow")
    assert (queue["ready"], queue["unsettled"]) == (0, 0)


def test_a_worker_that_does_not_stop_is_killed_with_its_children(daemon, tmp_path):
    d = daemon(
        {
            "stubborn": {"class": "trial:Stubborn", "stop_timeout": "300ms"},
            "parent": {"class": "trial:Parent", "environment": {"file": str(tmp_path / "child")}},
        }
    ).start()
    time.sleep(0.2)
    began = time.monotonic()
    d.ctl("stop", "all")
    assert time.monotonic() - began < 5
    assert "had not stopped after 0.3 s" in d.instance("stubborn/0")["last_exit"]
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not psutil.pid_exists(child))


def test_orphans_of_services_are_reaped(daemon, tmp_path):
    file = tmp_path / "orphan"
    d = daemon({"abandon": {"class": "trial:Abandoner", "environment": {"file": str(file)}}}).start()
    orphan = int(wait_until(lambda: file.exists() and file.read_text()))
    # Its parent ends after it has forked, and takes a moment for it.
    wait_until(lambda: psutil.Process(orphan).ppid() == d.process.pid, "the orphan's new parent")
    wait_until(lambda: not psutil.pid_exists(orphan), timeout=5)


def test_restart_replaces_the_worker_only_once_the_new_one_is_ready(daemon, tmp_path):
    broken = tmp_path / "broken"
    d = daemon(
        {"fragile": {"class": "trial:Fragile", "instances": 2, "environment": {"broken": str(broken)}}}
    ).start()
    before = {name: i["pid"] for name, i in d.instances().items()}
    d.ctl("restart", "fragile")
    after = {name: i["pid"] for name, i in d.instances().items()}
    assert not set(before.values()) & set(after.values())
    broken.touch()
    result = d.ctl("restart", "fragile", check=False)
    assert result.returncode == 1
    assert "did not become ready" in result.stdout + result.stderr
    kept = d.instances()
    assert {name: i["pid"] for name, i in kept.items()} == after
    assert {i["state"] for i in kept.values()} == {"ready"}


def test_scale_up_and_down(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    first = d.instance("record/0")["pid"]
    d.ctl("scale", "record=4")
    assert {i["state"] for i in d.instances().values()} == {"ready"}
    assert len(d.instances()) == 4
    d.ctl("scale", "record=1")
    assert {name: i["pid"] for name, i in d.instances().items()} == {"record/0": first}


def test_reload_applies_only_the_difference(daemon, tmp_path):
    d = daemon(
        {
            "same": recorder(tmp_path / "a", "a"),
            "gone": recorder(tmp_path / "b", "b"),
            "changed": recorder(tmp_path / "c", "c"),
            "resized": recorder(tmp_path / "d", "d"),
        }
    ).start()
    before = {name: i["pid"] for name, i in d.instances().items()}
    d.configure(
        {
            "same": recorder(tmp_path / "a", "a"),
            "changed": recorder(tmp_path / "changed", "c"),
            "resized": recorder(tmp_path / "d", "d", instances=2),
            "fresh": recorder(tmp_path / "e", "e"),
        }
    )
    printed = d.ctl("reload").stdout
    assert all(name in printed for name in ("gone", "changed", "resized", "fresh"))
    assert "same" not in printed
    d.wait_ready()
    after = {name: i["pid"] for name, i in d.instances().items()}
    assert set(after) == {"same/0", "changed/0", "resized/0", "resized/1", "fresh/0"}
    assert after["same/0"] == before["same/0"]
    assert after["resized/0"] == before["resized/0"]
    assert after["changed/0"] != before["changed/0"]
    assert "nothing" in d.ctl("reload").stdout


def test_a_reload_need_not_wait_for_restarts(daemon, tmp_path):
    slow = {"class": "trial:Slow", "stop_timeout": "60s", "environment": {"directory": str(tmp_path)}}
    d = daemon({"slow": slow}).start()
    d.ctl("send", "slow", "30")
    wait_until((tmp_path / "started").exists)
    d.configure({"slow": {**slow, "nice": 1}})
    assert d.ctl("reload", "--no-wait").stdout.startswith("service slow: nice 0 -> 1")
    wait_until(lambda: "draining" in json.dumps(d.status()))
    d.config_file.write_text("nonsense: 1\n")
    assert d.ctl("reload", "--no-wait", check=False).returncode == 1


def test_a_bad_configuration_changes_nothing(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    before = d.instances()
    d.configure({"record": {**recorder(tmp_path / "other"), "instnces": 2}})
    result = d.ctl("reload", check=False)
    assert result.returncode == 1
    assert f"{d.config_file}:" in result.stderr
    assert "did you mean 'instances'" in result.stderr
    d.configure({"record": recorder(tmp_path / "other"), "wrong": {"class": "trial:Recordr"}})
    result = d.ctl("reload", check=False)
    assert result.returncode == 1
    assert "Recordr" in result.stderr
    assert {n: i["pid"] for n, i in d.instances().items()} == {n: i["pid"] for n, i in before.items()}


def test_reload_with_a_runtime_that_cannot_load_changes_nothing(daemon, tmp_path):
    services = {"record": recorder(tmp_path / "out")}
    d = daemon(services).start()
    before = d.instance("record/0")["pid"]
    broken = {"class": "trial:Quitter", "runtime": "broken"}
    d.configure({**services, "broken": broken}, runtimes={"broken": {"preload": ["no_such_module"]}})
    for _ in range(2):
        result = d.ctl("reload", check=False)
        assert result.returncode == 1
        assert "no_such_module" in result.stderr
    assert d.instance("record/0")["pid"] == before


def test_reload_picks_up_changed_code(daemon, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    for module in ("changing", "constant"):
        (code / f"{module}.py").write_text((SERVICES / "trial.py").read_text())
    services = {
        name: {"class": f"{name}:Version", "environment": {"file": str(tmp_path / name)}}
        for name in ("changing", "constant")
    }
    d = daemon(services, runtimes={"default": {"python_path": [str(code)]}}).start()
    assert (tmp_path / "changing").read_text().endswith(" one")
    before = d.instances()
    source = (code / "changing.py").read_text()
    (code / "changing.py").write_text(source.replace('CODE = "one"', 'CODE = "second"'))
    assert "changing" in d.ctl("reload").stdout
    wait_until(lambda: (tmp_path / "changing").read_text().endswith(" second"))
    after = d.instances()
    assert after["constant/0"]["pid"] == before["constant/0"]["pid"]
    assert after["changing/0"]["pid"] != before["changing/0"]["pid"]


def test_a_foreign_runs_services(daemon, tmp_path, foreign):
    service = {"class": "trial:Version", "runtime": "foreign", "environment": {"file": str(tmp_path / "out")}}
    runtimes = {"foreign": {"interpreter": str(foreign), "python_path": [str(SERVICES)]}}
    daemon({"version": service}, runtimes=runtimes).start()
    code = "import sys; print(sys.version_info[:2])"
    expected = subprocess.run([foreign, "-c", code], capture_output=True, text=True, check=True)
    assert (tmp_path / "out").read_text() == f"{expected.stdout.strip()} one"


def test_sigterm_drains_and_leaves_nothing(daemon, tmp_path):
    d = daemon(
        {
            "slow": {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}},
            "parent": {"class": "trial:Parent", "environment": {"file": str(tmp_path / "child")}},
        }
    ).start()
    d.ctl("send", "slow", "0.5")
    wait_until((tmp_path / "started").exists)
    family = psutil.Process(d.process.pid).children(recursive=True)
    assert d.stop() == 0
    assert (tmp_path / "shutdown").exists()
    wait_until(lambda: not any(child.is_running() for child in family))
    assert not d.socket.exists()
    assert d.ctl("status", check=False).returncode == 7


def test_sighup_reloads(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    d.configure({"record": recorder(tmp_path / "out", instances=2)})
    d.process.send_signal(signal.SIGHUP)
    d.wait_state("record/1", "ready")


def test_a_worker_that_dies_while_there_is_no_forkserver_is_replaced_by_the_next_one(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    before = d.instance("record/0")["pid"]
    killed = set()

    def is_missing_for_long() -> bool:
        server = d.status()["daemon"]["forkservers"][0]
        if server["state"] != "failed":
            os.kill(server["pid"], signal.SIGKILL)  # each time, the next one comes later
            killed.add(server["pid"])
        return server["state"] == "failed" and len(killed) > 5

    wait_until(is_missing_for_long)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: d.instance("record/0")["pid"] not in (None, before))
    assert d.wait_state("record/0", "ready")
    assert "failed" not in d.ctl("events").stdout


def test_a_damaged_database_is_named_wherever_somebody_looks(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    d.stop()
    database = d.state_dir / "queues/embedded/queues.db"
    content = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    d.start(ready=False)
    wait_until(lambda: "damaged" in (d.status()["transports"][0].get("detail") or ""))
    for command in (["send", "in", "1"], ["queues"]):
        refused = d.ctl(*command, check=False)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"zocaloctl: the relay does not start: {database} is damaged")
        assert refused.stderr.count("\n") == 1
    database.write_bytes(content)
    d.wait_ready()
    d.ctl("send", "in", "2")
    wait_until(lambda: lines(tmp_path / "out") == ["2"])


def test_relay_and_forkserver_come_back(daemon, tmp_path):
    d = daemon({"record": recorder(tmp_path / "out")}).start()
    worker = d.instance("record/0")["pid"]
    helpers = d.status()["daemon"]
    os.kill(helpers["relay"]["pid"], signal.SIGKILL)
    os.kill(helpers["forkservers"][0]["pid"], signal.SIGKILL)
    d.ctl("send", "in", '"after"')
    wait_until(lambda: lines(tmp_path / "out") == ["after"])
    assert d.instance("record/0")["pid"] == worker
    d.ctl("restart", "record")
    assert d.instance("record/0")["pid"] != worker


def test_logs_of_a_service(daemon, tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    service = {
        "class": "trial:Fragile",
        "environment": {"broken": str(broken)},
        "restart": {"limit": 1, "backoff": "10ms"},
    }
    d = daemon({"fragile": service}).start(ready=False)
    d.wait_state("fragile/0", "failed")
    assert "it is broken" in d.ctl("logs", "fragile").stdout
    assert "failed" in d.ctl("events").stdout


def test_a_flood_of_output_blocks_nobody(daemon, tmp_path):
    quiet = tmp_path / "quiet"
    chatty = {"class": "trial:Chatty", "environment": {"quiet": str(quiet)}}
    d = daemon({"chatty": chatty, "record": recorder(tmp_path / "out")}).start()
    stuck = socket.socket(socket.AF_UNIX)  # a client that follows the logs and never reads
    stuck.connect(str(d.socket))
    with contextlib.closing(stuck):
        d.ctl("send", "in", '"through"')
        wait_until(lambda: lines(tmp_path / "out") == ["through"])
        times = []
        for _ in range(10):
            began = time.monotonic()
            d.ctl("status")
            times.append(time.monotonic() - began)
        assert sorted(times)[5] < 2  # the whole command; the figure itself is measured in benchmarks
        quiet.touch()
        d.ctl("stop", "chatty")


class TestStart:
    def test_one_daemon_per_state_directory(self, daemon):
        d = daemon({"quitter": {"class": "trial:Quitter"}}).start(ready=False)
        second = self.run(d.config_file)
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert f"pid {d.process.pid}" in second.stderr

    def test_stale_socket_is_replaced(self, daemon):
        d = daemon({})
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(d.socket))
        d.start()
        assert d.stop() == 0

    def test_socket_of_another_daemon_is_left_alone(self, daemon):
        d = daemon({})
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(d.socket))
            other.listen()
            result = self.run(d.config_file)
            assert result.returncode == 1
            assert "another daemon answers" in result.stderr
            assert d.socket.exists()

    def test_foreign_file_is_left_alone(self, daemon):
        d = daemon({})
        d.socket.write_text("precious")
        result = self.run(d.config_file)
        assert result.returncode == 1
        assert "is no socket" in result.stderr
        assert d.socket.read_text() == "precious"

    def test_state_directory_that_cannot_be_used(self, daemon, tmp_path):
        (tmp_path / "file").touch()
        d = daemon({}, state_dir=str(tmp_path / "file" / "state"))
        result = self.run(d.config_file)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert "state directory" in result.stderr

    def test_socket_directory_that_others_could_write(self, daemon, tmp_path):
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        d = daemon({}, control={"socket": str(shared / "zocalod.sock")})
        result = self.run(d.config_file)
        assert result.returncode == 1
        assert "others could replace sockets" in result.stderr

    def test_check_prints_a_summary(self, daemon):
        d = daemon({"quitter": {"class": "trial:Quitter", "instances": 3}})
        result = self.run(d.config_file, "--check")
        assert result.returncode == 0
        assert "quitter" in result.stdout

    def test_check_looks_for_every_class(self, daemon):
        services = {
            "good": {"class": "trial:Quitter"},
            "bad": {"class": "trial:Nonsense"},
            "worse": {"class": "trial:Quitter", "runtime": "other"},
        }
        runtimes = {"other": {"preload": ["no_such_module"]}}
        result = self.run(daemon(services, runtimes=runtimes).config_file, "--check")
        assert result.returncode == 1
        bad, worse = result.stderr.splitlines()
        assert bad.startswith("zocalod: services.bad: ")
        assert "Nonsense" in bad
        assert worse.startswith("zocalod: services.worse: ")
        assert "no_such_module" in worse

    def test_sockets_are_private(self, daemon):
        d = daemon({}).start()
        assert d.socket.stat().st_mode & 0o777 == 0o600
        assert d.state_dir.stat().st_mode & 0o777 == 0o700

    @staticmethod
    def run(config: Path, *args: str) -> subprocess.CompletedProcess[str]:
        command = [str(COMMANDS / "zocalod"), "--config", str(config), *args]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert "Traceback" not in result.stderr
        return result


def test_dead_letters_are_listed_sent_back_and_deleted(daemon, tmp_path):
    d = daemon({"reject": {"class": "trial:Rejecter"}}).start()
    for number in range(3):
        d.ctl("send", "reject", str(number))
    wait_until(lambda: d.ctl("dlq", "list").stdout.count("dlq.reject") == 3)
    listed = json.loads(d.ctl("--json", "queues", "dlq.*").stdout)
    assert [queue["name"] for queue in listed] == ["dlq.reject"]
    first = json.loads(d.ctl("--json", "dlq", "list").stdout)[0]
    said = d.ctl("dlq", "reinject", "reject", "--id", str(first["id"]), "-d", "elsewhere").stdout
    assert said == "1 dead letter sent to elsewhere\n"
    assert d.ctl("dlq", "purge", "reject").stdout == "2 dead letters deleted\n"
    assert json.loads(d.ctl("--json", "queues", "elsewhere").stdout)[0]["ready"] == 1


def test_what_the_relay_logs_has_its_priority_in_the_journal(daemon, tmp_path):
    d = daemon({})
    stream = d.directory / "stderr"
    stream.touch()
    about = stream.stat()
    nowhere = str(tmp_path / "nowhere")
    d.start(env={"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}", "ZOCALOD_JOURNAL": nowhere})
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(d.socket.with_name("relay.sock")))
        stranger.sendall(b"\xc1 is not msgpack")
        wait_until(lambda: "<3>relay: connection of the script" in d.stderr())
    assert "ERROR connection of the script" in d.ctl("logs", "relay").stdout.replace("  ", " ")
    assert d.stop() == 0
