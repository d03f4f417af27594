"""`zocaloctl wrap` through the pool of a daemon (compatibility: zocalo.wrap, wrapper)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.daemonkit import Daemon
from tests.graylogkit import Graylog
from tests.waiting import wait_until
from tests.wrapkit import RECIPE_ID, Outputs, command, environment, wrap, write_step
from zocalo_daemon.worker.transport import RelayTransport


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon that lets scripts in."""
    d = Daemon(tmp_path_factory.mktemp("pool"), {}, relay={"clients": "user"}).start()
    yield d
    d.close()


@pytest.fixture
def socket(pool: Daemon) -> str:
    return str(pool.socket.with_name("relay.sock"))


@pytest.fixture
def outputs(socket: str) -> Iterator[Outputs]:
    transport = RelayTransport.for_worker(socket, "")
    transport.connect()
    yield Outputs(transport)
    transport.disconnect()


@pytest.fixture
def step(tmp_path: Path) -> str:
    return str(write_step(tmp_path / "step.json", value=[1, {"two": 3}]))


def test_a_job_tells_the_recipe_all_that_zocalo_s_tells(socket: str, step: str, outputs: Outputs):
    done = wrap("--wrap", "wrapping:Works", "--recipewrapper", step, ZOCALO_RELAY_SOCKET=socket)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "completed" in outputs.arrived)
    assert outputs.arrived == {
        "starting": ["Starting processing"],
        "updates": [{"done": 0.5}],
        "result-individual-file": [{"file_name": "a.h5"}],
        "result-all-files": [[{"file_name": "a.h5"}]],
        "custom": [[1, {"two": 3}]],
        "success": ["Finished processing"],
        "completed": ["Finished processing"],
    }
    for header, envelope in outputs.envelopes:
        assert header["workflows-recipe"] is True
        assert envelope["environment"] == {"ID": RECIPE_ID}
        assert envelope["recipe-path"] == [1]
        assert envelope["recipe"]["1"]["queue"] == "cluster"


def test_what_a_job_does_is_broadcast(socket: str, step: str, outputs: Outputs):
    node = {"JOB_ID": "4711", "SGE_CELL": "north"}
    wrap("--wrap", "wrapping:Works", "--recipewrapper", step, ZOCALO_RELAY_SOCKET=socket, **node)
    wait_until(lambda: outputs.statuses and outputs.statuses[-1]["status"] == 6, "its last status")
    first, last = outputs.statuses[0], outputs.statuses[-1]
    assert first["task"] == "wrapping:Works (sample 7)"
    assert last["task"] == "wrapping:Works (sample 7) at its end"
    assert (last["statustext"], last["tag"]) == ("shutdown", "tagged")
    assert {"host", "workflows", "zocalo"} <= last.keys()
    assert (last["cluster_JOB_ID"], last["cluster_SGE_CELL"]) == ("4711", "north")
    assert [s["status"] for s in outputs.statuses] == sorted(s["status"] for s in outputs.statuses)


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("Works", {"result": False}, "Processing failed"),
        ("Raises", {}, "no beam today"),
        ("Leaves", {}, "0"),
    ],
)
def test_a_failure_is_told_and_seen_in_the_exit_status(name, parameters, reason, socket, tmp_path, outputs):
    """Defect 19: zocalo.wrap exits 0 when the wrapped job failed."""
    step = str(write_step(tmp_path / "step.json", **parameters))
    done = wrap("--wrap", f"wrapping:{name}", "--recipewrapper", step, ZOCALO_RELAY_SOCKET=socket)
    assert done.returncode == 1, done.stderr
    wait_until(lambda: "completed" in outputs.arrived)
    assert outputs.arrived["failure"] == [reason]
    assert "success" not in outputs.arrived
    assert ("Traceback" in done.stderr) == (name != "Works")


def test_a_job_that_does_not_inherit_from_our_class_runs(socket, step, tmp_path, outputs):
    """The entry-point group zocalo.wrappers, and the site configuration."""
    about = tmp_path / "site-packages" / "site-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: site\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[zocalo.wrappers]\nforeign = wrapping:Foreign\n")
    site = tmp_path / "site.yaml"
    document = {"version": 1, "environments": {"live": ["store"]}, "store": {"plugin": "storage", "a": "b"}}
    site.write_text(yaml.safe_dump(document))
    env = environment(ZOCALO_RELAY_SOCKET=socket, ZOCALO_CONFIG=str(site))
    env["PYTHONPATH"] += f"{os.pathsep}{about.parent}"
    run = command("--wrap", "foreign", "--recipewrapper", step, "-e", "live", "-t", "RelayTransport", "-v")
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "completed" in outputs.arrived)
    assert outputs.arrived["custom"] == [{"plugin": "storage", "a": "b"}]
    assert outputs.arrived["success"] == ["Finished processing"]


class Running:
    """A job that waits."""

    def __init__(self, directory: Path, *args: str, **more: str) -> None:
        self.at, self._for = directory / "at", directory / "for"
        run = command("--wrap", "wrapping:Waits", *args)
        self.env = environment(WAITS_AT=str(self.at), WAITS_FOR=str(self._for), **more)
        self.process = subprocess.Popen(run, env=self.env, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: self.at.exists() or self.process.poll() is not None, "a job that waits")

    def go_on(self) -> None:
        self._for.touch()

    def end(self) -> str:
        """Return what it has said, when it has ended."""
        return self.process.communicate(timeout=30)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_failure_that_is_told(number, socket, step, tmp_path, outputs):
    job = Running(tmp_path, "--recipewrapper", step, ZOCALO_RELAY_SOCKET=socket)
    job.process.send_signal(signal.SIGUSR2)
    job.process.send_signal(number)
    said = job.end()
    assert job.process.returncode == 128 + number, said
    assert re.search(r'File ".*wrapping\.py", line \d+ in run', said), "SIGUSR2 shows where it is"
    wait_until(lambda: "completed" in outputs.arrived)
    assert outputs.arrived["failure"] == [f"interrupted by {number.name}"]


def test_a_job_outlives_the_relay(pool, socket, step, tmp_path, outputs):
    job = Running(tmp_path, "--recipewrapper", step, ZOCALO_RELAY_SOCKET=socket)
    os.kill(pool.status()["daemon"]["relay"]["pid"], signal.SIGKILL)
    job.go_on()
    said = job.end()
    assert job.process.returncode == 0, said
    wait_until(lambda: "completed" in outputs.arrived)
    assert outputs.arrived["success"] == ["Finished processing"]


def test_log_lines_reach_the_handlers_of_the_site(socket: str, step: str, tmp_path: Path):
    graylog = Graylog()
    graylog.start()
    site = tmp_path / "site.yaml"
    plugin = {"plugin": "graylog", "protocol": "UDP", "host": "127.0.0.1", "port": graylog.port}
    site.write_text(yaml.safe_dump({"version": 1, "environments": {"live": ["logs"]}, "logs": plugin}))
    more = {"ZOCALO_RELAY_SOCKET": socket, "ZOCALO_CONFIG": str(site)}
    done = wrap("--wrap", "wrapping:Works", "--recipewrapper", step, "-e", "live", **more)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "at work" in graylog.texts())
    graylog.stop()
    assert [one["_recipe_ID"] for one in graylog.taken if one["short_message"] == "at work"] == [RECIPE_ID]


def test_any_transport_of_workflows_will_do(tmp_path: Path, step: str):
    about = tmp_path / "site-packages" / "other-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[workflows.transport]\nOther = wrapping:Other\n")
    said = tmp_path / "said"
    env = environment(SAYS=str(said))
    env["PYTHONPATH"] += f"{os.pathsep}{about.parent}"
    run = command("--wrap", "wrapping:Works", "--recipewrapper", step, "-t", "Other")
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = said.read_text().splitlines()
    assert (told[0], told[-1]) == ("out.starting", "disconnected")
    assert "out.success" in told


def test_what_keeps_a_job_from_starting(socket: str, step: str, tmp_path: Path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"recipe": {"start": [[1, {}]]}, "recipe-pointer": 4}')
    cases = [
        (2, "--wrap", []),
        (2, "no transport 'None'", ["--wrap", "dummy", "-t", "None"]),
        (5, "did you mean 'dummy'?", ["--wrap", "dumy"]),
        (5, "No module named", ["--wrap", "nowhere:Class"]),
        (6, "No such file", ["--wrap", "dummy", "--recipewrapper", "/nowhere.json"]),
        (6, "cannot be used", ["--wrap", "dummy", "--recipewrapper", str(broken)]),
        (6, "ZOCALO_CONFIG", ["--wrap", "dummy", "-e", "live"]),
        (6, "ports 1, 2", ["--wrap", "dummy", "--rabbit-host=a,b,c", "--rabbit-port=1,2"]),
        (7, "no relay answers", ["--wrap", "dummy", "-t", "RelayTransport"]),
    ]
    for status, said, args in cases:
        done = wrap(*args)
        assert done.returncode == status, (args, done.stderr)
        assert said in done.stderr, args
        assert "Traceback" not in done.stderr


def test_a_daemon_that_lets_only_workers_in_says_so(daemon, step):
    d = daemon({}).start()
    done = wrap(f"--socket={d.socket}", "--wrap", "dummy", "--recipewrapper", step)
    assert done.returncode == 7
    assert "relay.clients: user" in done.stderr
