"""What the machine has no room for is refused alone: others run, the daemon answers, and tries again."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

from tests.daemonkit import Daemon
from tests.waiting import wait_until

MakeDaemon = Callable[..., Daemon]
INSTANCES = 40


def states(d: Daemon) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, one in d.instances().items():
        found.setdefault(one["state"], []).append(name)
    return found


def limit(d: Daemon, descriptors: int) -> None:
    """Change how many descriptors the supervisor may have."""
    _, hard = resource.prlimit(d.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(d.process.pid, resource.RLIMIT_NOFILE, (descriptors, hard))


def test_too_few_descriptors_refuse_the_new_worker_alone(daemon: MakeDaemon):
    d = daemon({"many": {"class": "trial:Rejecter"}}).start()
    before = d.instance("many/0")["pid"]
    limit(d, 64)
    d.ctl("scale", f"many={INSTANCES}", "--no-wait")
    found = wait_until(
        lambda: (now := states(d)).keys() == {"ready", "backoff"} and now, "some ready, the others waiting"
    )
    assert len(found["ready"]) >= 4
    assert len(found["backoff"]) >= 4
    for name in found["backoff"]:
        assert d.instance(name)["reason"] == (
            "could not be started: no descriptor left within the limit; raise LimitNOFILE"
        )
    # The others go on, the worker that dies comes back, and so do relay and forkserver.
    assert d.instance("many/0")["pid"] == before
    assert len(list(Path(f"/proc/{d.process.pid}/fd").iterdir())) < 64
    d.kill("many/0")
    wait_until(lambda: d.instance("many/0")["pid"] not in (None, before))
    helpers = d.status()["daemon"]
    for pid in (helpers["relay"]["pid"], helpers["forkservers"][0]["pid"]):
        os.kill(pid, 9)
    wait_until(lambda: d.status()["daemon"]["relay"] != helpers["relay"])
    wait_until(lambda: "ready" in [one["state"] for one in d.status()["daemon"]["forkservers"]])
    assert d.ctl("send", "in", "1").returncode == 0
    # With descriptors again, all of them start.
    limit(d, 1024)
    d.ctl("start", "many")
    assert {name for name, pids in states(d).items() if pids} == {"ready"}
    assert d.stop() == 0


def test_a_worker_that_cannot_be_forked_is_tried_again_and_never_given_up(daemon: MakeDaemon, tmp_path: Path):
    full = tmp_path / "full"
    services = {
        "first": {"class": "trial:Rejecter"},
        "later": {"class": "trial:Rejecter", "instances": 0, "restart": {"limit": 1}},
    }
    runtimes = {"default": {"preload": ["fewprocesses"], "env": {"FULL": str(full)}}}
    d = daemon(services, runtimes=runtimes).start()
    pid = d.instance("first/0")["pid"]
    full.touch()
    for _ in range(3):
        d.ctl("scale", "later=1", "--no-wait")
        d.ctl("start", "later", "--no-wait")
        wait_until(lambda: d.instance("later/0")["state"] == "backoff")
    assert d.instance("later/0")["reason"] == (
        "could not be forked: no process more is allowed; "
        "raise TasksMax or LimitNPROC, or the sysctl kernel.pid_max"
    )
    full.unlink()
    d.ctl("start", "later")
    assert d.instance("first/0")["pid"] == pid
