"""Where a recipe is: through services that work, fail and die, over the deaths of relay and daemon."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon, let_in
from tests.waiting import wait_until

SOON = {"backoff": "10ms", "max_backoff": "10ms", "limit": 1000}


def services(**more: dict[str, Any]) -> dict[str, Any]:
    node = {"class": "nodes:Node", "restart": SOON, "max_crashes": 2}
    names = ("first", "second", "third")
    made = {name: {**node, "environment": {"queue": name}, **more.get(name, {})} for name in names}
    return {"dispatcher": {"class": "Dispatcher"}, **made}


def node(queue: str, output: Any = None, **parameters: Any) -> dict[str, Any]:
    made = {"queue": queue, "parameters": parameters}
    return made if output is None else {**made, "output": output}


def submit(d: Daemon, name: str, nodes: dict[str, Any], start: int = 1) -> None:
    recipe = {**nodes, "start": [[start, ["payload"]]]}
    request = {"recipes": [], "custom_recipe": recipe, "parameters": {"guid": name}}
    d.ctl("send", "processing_recipe", json.dumps(request))


def traced(d: Daemon, name: str) -> dict[str, Any] | None:
    done = d.ctl("--json", "trace", name, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def wait_for(d: Daemon, name: str, state: str, runs: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = traced(d, name)
        return found if found and found["state"] == state and len(found["runs"]) >= runs else None

    return wait_until(look, f"{name} {state}", every=0.05)


def crashes(d: Daemon, service: str) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "crashes", service, check=False).stdout or "[]")


def ends(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return sorted((run["node"], run["outcome"], run["then"]) for run in found["runs"])


@pytest.fixture(scope="module")
def d(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    hang = {"hang_timeout": "0.3s", "max_crashes": 1}
    daemon = Daemon(tmp_path_factory.mktemp("d"), services(third=hang)).start()
    yield daemon
    daemon.close()


def test_a_worker_of_another_user_is_traced_too(daemon: Callable[..., Daemon]):
    d = daemon(services(first={"user": "nobody"}))
    let_in(d.directory)
    d.start()
    for number in range(40):
        submit(d, f"other-{number}", {"1": node("first")})
    found = wait_for(d, "other-39", "done", 1)
    assert ends(found) == [("1", "done", "")]
    assert all(wait_for(d, f"other-{number}", "done", 1) for number in range(39))
    (pid,) = {run["pid"] for run in found["runs"]}
    assert Path(f"/proc/{pid}").stat().st_uid != os.getuid()


def test_a_recipe_that_ends_well(d: Daemon):
    submit(
        d,
        "well-1",
        {"1": node("first", [2, 3], times=2), "2": node("second"), "3": node("second", do="transaction")},
    )
    found = wait_for(d, "well-1", "done", 5)
    assert ends(found) == [("1", "done", ""), *[("2", "done", "")] * 2, *[("3", "done", "")] * 2]
    assert [one["instance"] for one in found["starts"]] == ["dispatcher/0"]
    first = found["runs"][0]
    assert (first["instance"], first["queue"], first["pid"]) == (
        "first/0",
        "first",
        d.instance("first/0")["pid"],
    )
    assert [(one["node"], one["queue"], one["messages"]) for one in first["sent"]] == [
        ("2", "second", 2),
        ("3", "second", 2),
    ]
    assert found["begun"] <= first["begun"] and first["took"] >= 0
    text = d.ctl("trace", "well").stdout  # abbreviated
    assert "recipe well-1: done" in text and "dispatcher/0" in text and "Other hosts have their own." in text


def test_what_fails_and_why(d: Daemon):
    submit(d, "bad-reject", {"1": node("first", do="reject")})
    found = wait_for(d, "bad-reject", "failed", 1)
    assert ends(found) == [("1", "rejected", "")] and found["runs"][0]["detail"] == "no image in this file"
    submit(d, "bad-crash", {"1": node("second", do="crash")})
    found = wait_for(d, "bad-crash", "failed", 2)
    assert ends(found) == [("1", "crashed", ""), ("1", "crashed", "dead-lettered")]
    # Each is written when the loop has time for it.
    reports = wait_until(lambda: len(made := crashes(d, "second")) == 2 and made, every=0.05)
    said = [run["detail"] for run in found["runs"]]
    assert all(
        f"report {one['id']}: segmentation fault" in text for one, text in zip(reports, said, strict=True)
    )
    submit(d, "bad-raise", {"1": node("second", do="raise")})
    found = wait_for(d, "bad-raise", "failed", 2)
    assert ends(found) == [("1", "crashed", ""), ("1", "crashed", "dead-lettered")]
    assert "ValueError: no such spot" in found["runs"][0]["detail"]
    assert "bad-raise" in d.ctl("trace").stdout and "bad-reject" in d.ctl("trace", "-n", "3").stdout


def test_a_hang_is_told_with_its_report(d: Daemon):
    submit(d, "hang-1", {"1": node("third", do="hang")})
    found = wait_for(d, "hang-1", "failed", 1)
    assert ends(found) == [("1", "crashed", "dead-lettered")]
    assert found["runs"][0]["detail"].startswith("report ") and found["runs"][0]["took"] >= 300_000


def test_ids_that_do_not_say_which(d: Daemon):
    for name in ("twin-1", "twin-2"):
        submit(d, name, {"1": node("first")})
        wait_for(d, name, "done", 1)
    done = d.ctl("trace", "twin", check=False)
    assert done.returncode == 2 and "twin-1, twin-2" in done.stderr
    done = d.ctl("trace", "nobody-knows", check=False)
    assert done.returncode == 1 and "no node of this recipe ran here; the record of " in done.stderr
    assert d.ctl("trace", "tw", check=False).returncode == 2


def relay_pid(d: Daemon) -> int:
    return int(d.status()["daemon"]["relay"]["pid"])


def test_deaths_of_relay_and_daemon_lose_nothing_that_was_noted(tmp_path: Path):
    gate = tmp_path / "gate"
    d = Daemon(tmp_path, services()).start()
    try:
        submit(
            d,
            "life-1",
            {"1": node("first", 2), "2": node("second", 3, do=f"wait {gate}"), "3": node("third")},
        )
        found = wait_for(d, "life-1", "running", 2)
        assert ends(found) == [("1", "done", ""), ("2", "running", "")]
        assert "running" in d.ctl("trace", "life-1").stdout
        before = relay_pid(d)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: relay_pid(d) not in (0, before), every=0.05)
        gate.touch()
        found = wait_for(d, "life-1", "done", 4)
        # What was in hand as the relay died is done once more, and sends once more.
        expected = {("1", "done", ""), ("2", "again", ""), ("2", "done", ""), ("3", "done", "")}
        assert set(ends(found)) == expected
        gate.unlink()
        submit(d, "life-2", {"1": node("first", do=f"wait {gate}")})
        wait_for(d, "life-2", "running", 1)
        assert d.process
        d.process.kill()
        d.process.wait()
        # Whoever is left ends what is left, and saves what it has noted.
        wait_until(lambda: "the daemon was killed" in latest(d), "the trail to be saved")
        gate.touch()
        d.start()
        found = wait_for(d, "life-2", "done", 2)
        assert [run["outcome"] for run in found["runs"]] == ["cut", "done"]
        assert ends(wait_for(d, "life-1", "done", 4))[0] == ("1", "done", "")
    finally:
        d.close()


def latest(d: Daemon) -> str:
    with contextlib.suppress(OSError):
        return (d.state_dir / "trail" / "latest").read_text()
    return ""


def test_how_much_is_kept_can_be_changed_at_any_time(tmp_path: Path):
    d = Daemon(tmp_path, services()).start()
    try:
        submit(d, "kept-1", {"1": node("first")})
        wait_for(d, "kept-1", "done", 1)
        pid = d.instance("first/0")["pid"]
        d.configure(services(), trail=0)
        assert "trail" in d.ctl("reload").stdout
        submit(d, "kept-2", {"1": node("first", 2), "2": node("second")})
        wait_until(lambda: d.instance("second/0")["processed"] == 1)
        done = d.ctl("trace", "kept-2", check=False)
        assert done.returncode == 1 and "keeps no record" in done.stderr
        assert not list((d.state_dir / "trail").glob("*"))
        d.configure(services(), trail="1MiB")
        d.ctl("reload")
        submit(d, "kept-3", {"1": node("first")})
        assert wait_for(d, "kept-3", "done", 1)["runs"][0]["pid"] == pid  # no worker was touched
        d.ctl("reexec")
        assert traced(d, "kept-3")
        submit(d, "kept-4", {"1": node("first")})
        wait_for(d, "kept-4", "done", 1)
        assert d.stop() == 0
        # A worker that ends well leaves its lines, too.
        assert "kept-4" in latest(d)
    finally:
        d.close()
