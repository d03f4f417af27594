"""Workers that die in every way that there is: what the daemon says, and what becomes of the message."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon
from tests.waiting import wait_until

MakeDaemon = Callable[..., Daemon]
SOON = {"backoff": "10ms", "max_backoff": "10ms", "limit": 1000}


def mortal(**more: Any) -> dict[str, Any]:
    return {"class": "mortal:Mortal", "restart": SOON, **more}


def send(d: Daemon, message: str, queue: str = "mortal") -> None:
    d.ctl("send", queue, json.dumps(message))


def listed(d: Daemon, *args: str) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "crashes", *args).stdout)


def report(d: Daemon, number: int) -> dict[str, Any]:
    return json.loads(d.ctl("--json", "crashes", str(number)).stdout)


def wait_crashes(d: Daemon, count: int, *args: str) -> list[dict[str, Any]]:
    return wait_until(
        lambda: (found := listed(d, *args)) and len(found) >= count and found, "crashes", every=0.05
    )


def letters(d: Daemon) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "dlq", "list").stdout)


def events(d: Daemon, kind: str) -> list[dict[str, Any]]:
    return [one for one in json.loads(d.ctl("--json", "events", "-n", "9999").stdout) if one["event"] == kind]


@pytest.fixture(scope="module")
def mortals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a service that dies of its messages at the first attempt."""
    d = Daemon(tmp_path_factory.mktemp("d"), {"mortal": mortal(max_crashes=1)}).start()
    yield d
    d.close()


@pytest.mark.parametrize(
    ("message", "cause", "exit_", "said", "trace"),
    [
        ("raise", "exception", "exit status 1", "KeyError: 'no such spot'", "in do_raise"),
        ("sysexit", "exit", "exit status 1", "it called sys.exit", "in do_sysexit"),
        ("osexit 7", "exit", "exit status 7", "os._exit(7)", None),
        ("osexit 0", "exit", "exit status 0", "os._exit(0)", None),
        ("segfault", "fault", "signal SIGSEGV", "segmentation fault at ", "in do_segfault"),
        ("kill", "killed", "signal SIGKILL", "killed from outside", None),
        ("usr2", "signal", "signal SIGUSR2", "from outside", None),
    ],
)
def test_every_death_is_told_apart(mortals: Daemon, message, cause, exit_, said, trace):
    before = len(listed(mortals))
    send(mortals, message)
    summary = wait_crashes(mortals, before + 1)[-1]
    assert (summary["instance"], summary["cause"], summary["queue"]) == ("mortal/0", cause, "mortal")
    assert said in summary["text"]
    full = report(mortals, summary["id"])
    assert full["exit"]["text"] == exit_
    assert full["delivery"]["body"] == json.dumps(message)
    assert full["delivery"]["transport"] == "embedded"
    assert (
        full["class"] == "mortal:Mortal" and full["pid"] and full["started"] <= full["ready"] <= full["time"]
    )
    assert full["max_rss_bytes"] > 1 << 20 and full["cpu_s"] > 0
    assert any(line["text"] == f"about to do {message}" for line in full["log"])
    assert all(line["text"] for line in full["log"])  # the empty lines of a traceback are not left alone
    assert trace is None or any(trace in line for line in full["traceback"]), full["traceback"]
    assert bool(full["traceback"]) == (trace is not None)
    # max_crashes is 1
    assert summary["dead_lettered"] and letters(mortals)[-1]["body"] == json.dumps(message)
    # the event of its end has the same in words, and status the number
    assert any(f"{exit_}: {summary['text']}" in one["text"] for one in events(mortals, "exited"))
    crashed = events(mortals, "crashed")[-1]
    assert (crashed["report"], crashed["cause"]) == (summary["id"], cause)
    assert mortals.instance("mortal/0")["last_crash"] == summary["id"]
    # and people can read it
    shown = mortals.ctl("crashes", str(summary["id"])).stdout
    assert f"{exit_}: {summary['text']}" in shown and json.dumps(message) in shown
    assert f"about to do {message}" in shown and "dead-lettered" in shown
    mortals.wait_state("mortal/0", "ready")


def test_an_end_that_was_asked_for_is_no_crash(mortals: Daemon):
    before = len(listed(mortals))
    pid = mortals.instance("mortal/0")["pid"]
    mortals.ctl("restart", "mortal")
    os.kill(mortals.instance("mortal/0")["pid"], signal.SIGTERM)  # it finishes in good order
    wait_until(lambda: mortals.instance("mortal/0")["pid"] not in (pid, None))
    mortals.wait_state("mortal/0", "ready")
    assert len(listed(mortals)) == before


def test_what_is_not_there(mortals: Daemon):
    missing = mortals.ctl("crashes", "999999", check=False)
    assert missing.returncode == 5 and "no crash report 999999" in missing.stderr
    assert mortals.ctl("crashes", "nobody", check=False).returncode == 5
    assert mortals.ctl("crashes", "1", "mortal", check=False).returncode == 2
    assert listed(mortals, "mortal/*") == listed(mortals, "all") == listed(mortals)
    assert len(listed(mortals, "-n", "1")) <= 1


def test_a_long_binary_message_is_cut(mortals: Daemon):
    before = len(listed(mortals))
    message = "kill " + "\u20ac" * 20_000
    mortals.ctl(
        "send", "mortal", "-", "--header", f"long={'x' * 5000}", stdin=json.dumps(message, ensure_ascii=False)
    )
    full = report(mortals, wait_crashes(mortals, before + 1)[-1]["id"])
    delivery = full["delivery"]
    assert delivery["size"] == len(json.dumps(message, ensure_ascii=False).encode())
    assert delivery["cut"] == delivery["size"] - 16 * 1024
    assert delivery["body"].startswith('"kill \u20ac') and set(delivery["body"][6:]) == {"\u20ac"}
    assert len(delivery["headers"]["long"]) < 1100
    assert (mortals.state_dir / "crashes" / f"{full['id']}.json").stat().st_size < 200_000
    assert "bytes more" in mortals.ctl("crashes", str(full["id"])).stdout


# -- Poison


@pytest.mark.parametrize("prefetch", [None, 100])
def test_only_the_message_that_kills_is_blamed(daemon: MakeDaemon, prefetch: int | None):
    environment = {} if prefetch is None else {"prefetch_count": prefetch}
    d = daemon({"mortal": mortal(environment=environment)}).start()
    d.ctl("stop", "mortal")
    for message in ("live 1", "live 2", "kill", *(f"live {number}" for number in range(3, 30))):
        send(d, message)
    d.ctl("start", "mortal")
    (letter,) = wait_until(lambda: letters(d), every=0.05)
    assert (letter["body"], letter["origin"]) == ('"kill"', "mortal")
    assert letter["reason"].startswith("3 workers have died of it: crash reports 1, 2, 3")
    wait_until(lambda: d.instance("mortal/0")["processed"] >= 27, every=0.05)
    found = wait_crashes(d, 3)
    assert [(one["queue"], one["dead_lettered"]) for one in found] == [
        ("mortal", False),
        ("mortal", False),
        ("mortal", True),
    ]
    assert [report(d, number)["delivery"]["crashes"] for number in (1, 2, 3)] == [[1], [1, 2], [1, 2, 3]]
    assert [one["reports"] for one in events(d, "dead-lettered")] == [[1, 2, 3]]
    assert len(letters(d)) == 1 and len(listed(d)) == 3
    assert json.loads((d.state_dir / "poison.json").read_text()) == {"messages": []}


def kill_at_work(d: Daemon, times: int) -> None:
    """Kill the worker over the message, for the `times`th time that one has begun with it."""
    wait_until(lambda: d.stderr().count("mortal/0: about to do sleep") == times, every=0.02)
    count = len(listed(d))
    d.kill("mortal/0")
    wait_crashes(d, count + 1)


def test_the_count_outlives_relay_and_daemon(daemon: MakeDaemon):
    d = daemon({"mortal": mortal()}).start()
    send(d, "sleep")
    kill_at_work(d, 1)
    wait_until(lambda: d.stderr().count("mortal/0: about to do sleep") == 2, every=0.02)
    relay = d.status()["daemon"]["relay"]["pid"]
    os.kill(relay, signal.SIGKILL)
    wait_until(lambda: d.status()["daemon"]["relay"]["pid"] not in (relay, None), every=0.05)
    kill_at_work(d, 2)  # what it had in hand was of the relay that is gone: nobody can say
    kill_at_work(d, 3)
    wait_until(lambda: d.stderr().count("mortal/0: about to do sleep") == 4, every=0.02)
    d.process.kill()
    d.process.wait()
    d.start()
    assert letters(d) == []
    kill_at_work(d, 5)
    (letter,) = letters(d)
    assert "crash reports 1, 3, 4" in letter["reason"]
    assert stat.S_IMODE((d.state_dir / "poison.json").stat().st_mode) == 0o600


def test_a_worker_that_dies_idle_blames_nothing(daemon: MakeDaemon):
    d = daemon({"mortal": mortal(max_crashes=1)}).start()
    send(d, "live")
    wait_until(lambda: d.instance("mortal/0")["processed"], every=0.05)
    d.kill("mortal/0")
    (crash,) = wait_crashes(d, 1)
    assert (crash["cause"], crash["queue"], crash["dead_lettered"]) == ("killed", None, False)
    assert report(d, 1)["delivery"] is None
    assert letters(d) == []


def test_a_worker_that_does_not_stop_is_reported_and_its_message_not_blamed(daemon: MakeDaemon):
    d = daemon({"mortal": mortal(max_crashes=1, stop_timeout="100ms")}).start()
    send(d, "sleep")
    wait_until(lambda: d.instance("mortal/0")["in_flight"], every=0.05)
    d.ctl("stop", "mortal")
    (crash,) = wait_crashes(d, 1)
    assert (crash["cause"], crash["queue"]) == ("stop-timeout", "mortal")
    assert "had not stopped after 0.1 s" in crash["text"]
    assert letters(d) == []


# -- Reports


def test_many_crashes_at_once_are_few_reports_and_no_burden(daemon: MakeDaemon):
    d = daemon(
        {"mortal": mortal(instances=30, restart={**SOON, "backoff": "2s", "max_backoff": "2s"})}
    ).start()
    pids = [instance["pid"] for instance in d.instances().values()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(events(d, "exited")) >= 30, every=0.05)
    wait_until(lambda: len(listed(d)) >= 10, every=0.05)
    d.wait_ready()
    assert len(listed(d)) == 10
    exits = 30
    while len(listed(d)) == 10:  # until a second has passed
        d.wait_state("mortal/3", "ready")
        d.kill("mortal/3")
        exits += 1
        wait_until(lambda exits=exits: len(events(d, "exited")) == exits, every=0.05)
    left_out = report(d, wait_crashes(d, 11)[10]["id"])["not_reported"]
    assert 20 <= left_out < exits - 10
    assert any(f"and {left_out} before it without one" in one["text"] for one in events(d, "crashed"))


def test_without_a_place_for_reports_the_daemon_goes_on(daemon: MakeDaemon):
    d = daemon({"mortal": mortal()}).start()
    (d.state_dir / "crashes").touch()  # in the way of the directory
    for count in (1, 2):
        d.kill("mortal/0")
        wait_until(lambda count=count: len(events(d, "crashed")) == count, every=0.05)
        d.wait_state("mortal/0", "ready")
    assert "could not be written" in events(d, "crashed")[-1]["text"]
    assert d.stderr().count("crash reports cannot be written") == 1
    (d.state_dir / "crashes").unlink()
    d.kill("mortal/0")
    wait_crashes(d, 1)
    assert "crash reports can be written again" in d.stderr()
    d.stop()
    assert Daemon.start(d).instance("mortal/0")["last_crash"] is not None


# -- Lack of memory


def memory_group(name: str, limit: int) -> Path | None:
    """Return a control group of that name with a limit of memory, None where none can be made."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup") / ("memory" if controllers else "")
        if controllers and "memory" not in controllers.split(","):
            continue
        group = (root / path.lstrip("/") if (root / path.lstrip("/")).exists() else root) / name
        try:
            group.mkdir()
            for file in (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                "memory.max",
                "memory.swap.max",
            ):
                if (group / file).exists():
                    (group / file).write_text("0" if file == "memory.swap.max" else str(limit))
            assert (group / "memory.oom_control").exists() or (group / "memory.events").exists()
        except (OSError, AssertionError):
            if group.is_dir():
                group.rmdir()
            continue
        return group
    return None


def test_a_worker_that_the_kernel_kills_for_lack_of_memory(daemon: MakeDaemon):
    group = memory_group(f"zocalo-test-{os.getpid()}", 400 << 20)
    if group is None:
        pytest.fail("no control group with a limit of memory can be made here")
    d = daemon({"mortal": mortal(max_crashes=1)})
    try:
        # What a process starts is in its group.
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            d.start()
        finally:
            (group.parent / "cgroup.procs").write_text(str(os.getpid()))
        send(d, "eat")
        (crash,) = wait_crashes(d, 1)
        assert crash["cause"] == "oom" and "for lack of memory" in crash["text"]
        assert report(d, crash["id"])["max_rss_bytes"] > 200 << 20
        assert len(letters(d)) == 1
        d.wait_state("mortal/0", "ready")
    finally:
        d.close()
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
