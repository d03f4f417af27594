"""Nothing that a daemon has started outlives it, or the worker that it belongs to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon import strays

MakeDaemon = Callable[..., Daemon]
KINDS = {"child", "session", "nohup", "daemon", "fork", "unmarked", "writer"}
WITHOUT_MARK = {"unmarked", "writer"}
SOON = 1.0  # seconds: no stray after this


def spawner(directory: Path, instances: int = 1) -> dict:
    directory.mkdir(exist_ok=True)
    return {
        "class": "straying:Spawner",
        "instances": instances,
        "environment": {"directory": str(directory)},
        "restart": {"backoff": "10s", "max_backoff": "60s"},
    }


def spawned(directory: Path, worker: int) -> dict[str, int]:
    """Return the pids of what a worker has started, by kind."""
    file = directory / str(worker)
    wait_until(file.exists, "what the service starts")
    return {kind: int(pid) for kind, pid in (line.split() for line in file.read_text().splitlines())}


def alive(pids) -> list[int]:
    return [pid for pid in pids if strays.look(pid)]


def of_life(life: str) -> list[str]:
    """Return what belongs to a life of the daemon."""
    return [str(one) for one in strays.processes() if strays.mark_of(one)[0] == life]


def life_of(d: Daemon) -> str:
    return (d.state_dir / "zocalod.lock").read_text().split()[1]


def below(d: Daemon) -> list[int]:
    """Return the pids of everything that the daemon has started itself."""
    document = d.status()
    daemon = document["daemon"]
    helpers = [daemon["relay"]["pid"], *(one["pid"] for one in daemon["forkservers"])]
    return helpers + [one["pid"] for service in document["services"] for one in service["instances"]]


@pytest.fixture
def cleaned():
    """Kill at the end what a broken daemon has left."""
    pids: list[int] = []
    yield pids
    for pid in alive(pids):
        os.kill(pid, signal.SIGKILL)


def test_nothing_outlives_a_supervisor_that_is_killed(daemon: MakeDaemon, tmp_path: Path, cleaned: list[int]):
    directory = tmp_path / "pids"
    services = {"spawn": spawner(directory, 3), "many": {"class": "trial:Rejecter", "instances": 10}}
    d = daemon(services).start()
    workers = [d.instance(f"spawn/{number}")["pid"] for number in range(3)]
    children = [pid for worker in workers for pid in spawned(directory, worker).values()]
    assert len(children) == 3 * len(KINDS)
    everything = [*below(d), *children]
    cleaned += everything
    life = life_of(d)
    # The one that only its log pipe could tell goes with its worker, but nobody is left to know the pipe.
    lost = [spawned(directory, worker)["writer"] for worker in workers]
    d.process.kill()
    d.process.wait()
    wait_until(
        lambda: not alive(set(everything) - set(lost)) and not of_life(life), "the end of all", timeout=SOON
    )


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_a_worker_has_started_ends_with_it(
    daemon: MakeDaemon, tmp_path: Path, cleaned: list[int], end: str
):
    directory = tmp_path / "pids"
    d = daemon({"spawn": spawner(directory, 2)}).start()
    first, second = (d.instance(f"spawn/{number}")["pid"] for number in range(2))
    mine, others = spawned(directory, first), spawned(directory, second)
    cleaned += [*mine.values(), *others.values()]
    assert set(mine) == KINDS
    assert len(alive(mine.values())) == len(alive(others.values())) == len(KINDS)
    if end == "kill":
        os.kill(first, signal.SIGKILL)
    else:
        d.ctl("stop", "spawn/0")
    wait_until(lambda: not alive(mine.values()), "the end of what the worker had started", timeout=SOON)
    line = wait_until(
        lambda: [line for line in d.stderr().splitlines() if f"(pid {first}) has left" in line], "a log line"
    )
    assert len(line) == 1
    assert "spawn/0" in line[0]
    assert "/bin/sleep 600" in line[0]
    assert len(alive(others.values())) == len(KINDS), "a helper of a living worker was killed"
    life = life_of(d)
    assert d.stop() == 0
    assert not alive(others.values())
    assert not of_life(life)


def test_the_next_daemon_ends_what_nobody_was_left_to_end(
    daemon: MakeDaemon, tmp_path: Path, cleaned: list[int]
):
    directory = tmp_path / "pids"
    d = daemon({"spawn": spawner(directory)}).start()
    children = spawned(directory, d.instance("spawn/0")["pid"])
    cleaned += children.values()
    pids = below(d)
    forkserver = d.status()["daemon"]["forkservers"][0]["pid"]
    # The forkserver would end everything: it must not come to it.
    os.kill(forkserver, signal.SIGSTOP)
    d.process.kill()
    os.kill(forkserver, signal.SIGKILL)
    d.process.wait()
    wait_until(lambda: not alive(pids))
    assert {kind for kind, pid in children.items() if alive([pid])} >= {"session", "daemon", "fork"}
    former = d.process.pid
    d.start()
    assert f"the former zocalod (pid {former}) has left processes behind, killed: " in d.stderr()
    assert not [kind for kind, pid in children.items() if alive([pid]) and kind not in WITHOUT_MARK]


def test_a_daemon_that_is_started_at_once_after_a_kill_doubles_nothing(daemon: MakeDaemon, tmp_path: Path):
    services = {"many": {"class": "trial:Rejecter", "instances": 20}}
    d = daemon(services).start()
    for _ in range(3):
        former, life = below(d), life_of(d)
        d.process.kill()
        d.process.wait()
        d.start(ready=False)
        wait_until(lambda life=life: life_of(d) != life, "a life of its own", every=0.001)
        assert not of_life(life)
        assert not alive(former)
        d.wait_ready()


def test_a_second_daemon_touches_nothing_of_the_first(daemon: MakeDaemon, tmp_path: Path):
    d = daemon({"many": {"class": "trial:Rejecter", "instances": 3}}).start()
    pids, life = below(d), life_of(d)
    second = daemon({}, name="second", state_dir=str(d.state_dir))
    with pytest.raises(AssertionError, match="another zocalod"):
        second.start()
    assert life_of(d) == life
    assert len(alive(pids)) == len(pids)


class TestIdentity:
    """Of `kill`: a number alone is not enough."""

    def test_a_process_that_has_got_the_number_since_is_not_hit(self):
        with subprocess.Popen(["sleep", "60"]) as child:
            found = strays.look(child.pid)
            earlier = strays.Found(found.pid, found.parent, found.session, found.started - 1)
            for descriptor in strays.kill([earlier]):
                os.close(descriptor)
            assert child.poll() is None
            for descriptor in strays.kill([found]):
                os.close(descriptor)
            assert child.wait(5) == -signal.SIGKILL

    def test_one_that_is_gone_is_nobody(self):
        with subprocess.Popen(["true"]) as child:
            pass
        assert strays.look(child.pid) is None
        assert strays.kill([strays.Found(child.pid, 1, 1, 1)]) == []

    def test_a_zombie_has_ended(self):
        with subprocess.Popen(["true"]) as child:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            assert strays.look(child.pid) is None

    def test_a_name_cannot_pretend_to_be_fields(self, tmp_path: Path):
        program = tmp_path / ") Z 1 1 ("
        program.symlink_to("/bin/sleep")
        with subprocess.Popen([str(program), "60"]) as child:
            assert strays.look(child.pid).parent == os.getpid()
            child.kill()

    def test_a_life_without_a_name_is_nobodys(self):
        with pytest.raises(ValueError, match="everybody"):
            strays.end_life("", 1)
