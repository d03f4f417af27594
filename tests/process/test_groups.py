"""Control groups of workers: nothing escapes them, and limits count; with a real daemon on this machine.

As root, and where a unit is delegated, groups can be made. Elsewhere the tests see that the daemon says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon import cgroups, strays
from zocalo_daemon.config.schema import LimitsConfig, ServiceConfig
from zocalo_daemon.supervision import delegation
from zocalo_daemon.supervision.groups import Groups

MakeDaemon = Callable[..., Daemon]
SOON = 1.0  # seconds
POSSIBLE = delegation.plan("zocalod", cgroups.hierarchies())
grouped = pytest.mark.skipif(not POSSIBLE.members, reason=POSSIBLE.missing)


def hider(directory: Path, instances: int = 1) -> dict:
    directory.mkdir(exist_ok=True)
    return {
        "class": "straying:Hider",
        "instances": instances,
        "environment": {"directory": str(directory)},
        "restart": {"backoff": "10s", "max_backoff": "60s"},
    }


def hidden(directory: Path, worker: int) -> int:
    """Return the pid of what a worker has started."""
    file = directory / str(worker)
    return int(wait_until(lambda: file.exists() and file.read_text().split()[0], "what the service starts"))


def bases(d: Daemon) -> list[Path]:
    """Return the daemon's directories, from its lock file."""
    lines = (d.state_dir / "zocalod.lock").read_text().splitlines()
    return [Path(line) for line in lines[2:]]


@pytest.fixture
def cleaned():
    """Kill at the end what a broken daemon has left."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if strays.look(pid):
            os.kill(pid, signal.SIGKILL)


@grouped
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_hides_ends_with_its_worker(daemon: MakeDaemon, tmp_path: Path, cleaned: list[int], end: str):
    directory = tmp_path / "pids"
    d = daemon({"hide": hider(directory, 2)}).start()
    first, second = (d.instance(f"hide/{number}")["pid"] for number in range(2))
    mine, other = hidden(directory, first), hidden(directory, second)
    cleaned += [mine, other]
    assert strays.look(mine) and strays.look(other)
    found = d.status()["daemon"]["control_groups"]
    assert found["path"] == str(bases(d)[0])
    begun = (directory / str(first)).read_text()
    assert "/hide-0." in begun, "the service began outside of its group"
    own = next(line.rpartition("/")[2] for line in begun.splitlines() if "/hide-0." in line)
    if end == "kill":
        os.kill(first, signal.SIGKILL)
    else:
        d.ctl("stop", "hide/0")
    wait_until(lambda: not strays.look(mine), "the end of what the worker had started", timeout=SOON)
    wait_until(
        lambda: [line for line in d.stderr().splitlines() if f"(pid {first}) has left" in line], "a log line"
    )
    assert strays.look(other), "a helper of a living worker was killed"
    assert not (bases(d)[0] / own).exists()
    directories = bases(d)
    assert d.stop() == 0
    assert not strays.look(other)
    assert not [one for one in directories if one.exists()]


@grouped
def test_what_hides_ends_with_its_supervisor(daemon: MakeDaemon, tmp_path: Path, cleaned: list[int]):
    directory = tmp_path / "pids"
    d = daemon({"hide": hider(directory, 3)}).start()
    workers = [d.instance(f"hide/{number}")["pid"] for number in range(3)]
    everything = [*workers, *(hidden(directory, worker) for worker in workers)]
    cleaned += everything
    directories = bases(d)
    assert directories
    d.process.kill()
    d.process.wait()
    wait_until(lambda: not any(map(strays.look, everything)), "the end of all", timeout=SOON)
    wait_until(lambda: not any(map(Path.exists, directories)), "no directory", timeout=SOON)


@grouped
def test_the_next_daemon_ends_what_hides_from_everybody(
    daemon: MakeDaemon, tmp_path: Path, cleaned: list[int]
):
    directory = tmp_path / "pids"
    d = daemon({"hide": hider(directory)}).start()
    child = hidden(directory, d.instance("hide/0")["pid"])
    cleaned.append(child)
    directories = bases(d)
    forkserver = d.status()["daemon"]["forkservers"][0]["pid"]
    # The forkserver would end everything: it must not come to it.
    os.kill(forkserver, signal.SIGSTOP)
    d.process.kill()
    os.kill(forkserver, signal.SIGKILL)
    d.process.wait()
    assert strays.look(child)
    former = d.process.pid
    d.start()
    assert f"the former zocalod (pid {former}) has left processes behind, killed: {child} (" in d.stderr()
    assert not strays.look(child)
    assert not any(map(Path.exists, directories))
    assert not set(directories) & set(bases(d))


@grouped
def test_new_code_of_the_supervisor_goes_on_with_the_groups(
    daemon: MakeDaemon, tmp_path: Path, cleaned: list[int]
):
    directory = tmp_path / "pids"
    d = daemon({"hide": hider(directory)}).start()
    worker, path = d.instance("hide/0")["pid"], d.status()["daemon"]["control_groups"]["path"]
    child = hidden(directory, worker)
    cleaned.append(child)
    d.ctl("reexec")
    assert strays.look(child)
    assert d.status()["daemon"]["control_groups"]["path"] == path
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not strays.look(child), "the end of what the worker had started", timeout=SOON)
    d.stop()
    assert not Path(path).exists()


def test_limits_are_those_of_the_service(daemon: MakeDaemon, tmp_path: Path):
    limits = {"memory": "600MiB", "cpu": "50%", "open_files": 321}
    service = {"class": "straying:Limited", "environment": {"directory": str(tmp_path)}, "limits": limits}
    d = daemon({"limited": service}).start()
    pid, made = d.instance("limited/0")["pid"], d.status()["daemon"]["control_groups"]
    told = json.loads((tmp_path / str(pid)).read_text())
    assert told["open_files"] == [321, 321]
    if "memory" in made["limits"]:
        assert value(d, "memory.max", "memory.limit_in_bytes") == [str(600 << 20)]
        assert told["groups"].count("/limited-0.") > 1 or made["version"] == 2
    else:
        assert told["memory"] == [600 << 20, 600 << 20]
    if "cpu" in made["limits"]:
        assert value(d, "cpu.max", "cpu.cfs_quota_us") in (["50000"], ["50000 100000"])
    else:
        assert "services.limited.limits.cpu has no effect: " in d.stderr()
    # Other limits are for other workers.
    d.configure({"limited": {**service, "limits": {"open_files": 654}}})
    d.ctl("reload")
    d.wait_ready()
    new = d.instance("limited/0")["pid"]
    assert new != pid
    assert json.loads((tmp_path / str(new)).read_text())["open_files"] == [654, 654]


def value(d: Daemon, *names: str) -> list[str]:
    """Return what a file of the only worker's groups says, whatever it is called."""
    files = [file for base in bases(d) for name in names for file in base.glob(f"limited-0.*/{name}")]
    return [file.read_text().strip() for file in files]


@pytest.mark.skipif(not POSSIBLE.memory, reason="no control group with a limit of memory")
def test_a_worker_over_its_limit_of_memory(daemon: MakeDaemon):
    d = daemon(
        {"mortal": {"class": "mortal:Mortal", "max_crashes": 1, "limits": {"memory": "150MiB"}}}
    ).start()
    d.ctl("send", "mortal", json.dumps("eat"))
    (crash,) = wait_until(lambda: json.loads(d.ctl("--json", "crashes").stdout), "a crash report")
    assert crash["cause"] == "oom"
    assert crash["text"] == "killed by the kernel for lack of memory: its limits.memory is 150MiB"
    d.wait_state("mortal/0", "ready")


def test_without_groups_everything_else_works(daemon: MakeDaemon, tmp_path: Path):
    if os.getuid():
        pytest.skip("only root can take the groups away")
    d = daemon(
        {
            "limited": {
                "class": "straying:Limited",
                "environment": {"directory": str(tmp_path)},
                "limits": {"memory": "1GiB", "cpu": "200%"},
            }
        }
    )
    d.start(within=["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"])
    why = "no control groups are mounted"
    assert d.status()["daemon"]["control_groups"] == {
        "path": None,
        "version": None,
        "limits": [],
        "reason": why,
    }
    assert f"services.limited.limits.cpu has no effect: {why}" in d.stderr()
    told = json.loads((tmp_path / str(d.instance("limited/0")["pid"])).read_text())
    assert told["memory"] == [1 << 30, 1 << 30]
    assert f"workers have none ({why})" in d.ctl("doctor", check=False).stdout
    assert d.stop() == 0


def test_the_check_of_a_configuration_says_what_is_used(daemon: MakeDaemon):
    d = daemon({"one": {"class": "trial:Rejecter"}})
    done = subprocess.run(
        [sys.executable, "-m", "zocalo_daemon.main", "--config", str(d.config_file), "--check"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"control groups: {POSSIBLE}" in done.stdout.replace(str(os.getpid()), "")
    assert not [one for one in cgroups.hierarchies() if (one.group / "zocalod").exists()]


# -- Every tree of this machine

WORKER = """\
import json, os, subprocess, sys
from zocalo_daemon.worker import groups
request = json.loads(sys.argv[1])
pid, inside = groups.fork(request)
if pid == 0:
    groups.enter(request, inside)
    kept = subprocess.Popen(["setsid", "/bin/sleep", "600"], stdout=subprocess.DEVNULL)
    print(json.dumps([kept.pid, inside, open("/proc/self/cgroup").read()]), flush=True)
    os._exit(0)
sys.exit(os.waitpid(pid, 0)[1])
"""


def trees() -> list[cgroups.Hierarchy]:
    """Return those that can be tried; a group of cpuset takes nobody before it was given processors."""
    usable = (one for one in cgroups.hierarchies() if os.access(one.group, os.W_OK))
    return [one for one in usable if "cpuset" not in one.controllers]


@pytest.mark.parametrize("tree", trees(), ids=lambda one: "v2" if one.unified else ",".join(one.controllers))
def test_a_group_can_be_made_entered_emptied_and_removed(tree: cgroups.Hierarchy):
    base = str(tree.group / f"zocalod-{os.getpid()}-test")
    made = delegation.make(Groups(base, tree.unified))
    assert made.members == base, made.missing
    try:
        confined = made.of_worker(1, "a/0", ServiceConfig("a", "m:C"))
        done = subprocess.run(
            [sys.executable, "-c", WORKER, json.dumps({"confined": confined})],
            stdout=subprocess.PIPE,
            check=True,
        )
        pid, inside, seen = json.loads(done.stdout)
        assert "/a-0.1\n" in seen
        assert inside == (confined["groups"][0] if tree.unified else ""), "it had to move"
        assert cgroups.members(base) == [pid]
        assert made.left(1, "a/0") == f"{base}/a-0.1"
    finally:
        made.end()
    assert not strays.look(pid)
    assert not Path(base).exists()


def test_what_is_not_possible_is_said_and_done_without(tmp_path: Path):
    confined = Groups(str(tmp_path / "gone")).of_worker(
        1, "a/0", ServiceConfig("a", "m:C", limits=LimitsConfig(open_files=100))
    )
    confined["settings"] = [[str(tmp_path / "nothing"), "1"]]
    code = (
        WORKER.replace("kept = ", "import resource; kept = ")
        .replace("kept.pid,", "resource.getrlimit(resource.RLIMIT_NOFILE),")
        .replace("600", "0")
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps({"confined": confined})],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[0] == [100, 100]
    assert done.stderr.count("was not possible: No such file or directory") == 2
