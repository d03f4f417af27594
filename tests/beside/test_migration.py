"""docs/migration.md, step by step: a site of zocalo on RabbitMQ moves to the daemon and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.beside.site import QUEUES, TOPICS, VHOST, Plain, Site
from tests.beside.test_processes import of_others, written
from tests.brokers.rabbit import RabbitServer
from tests.daemonkit import Daemon
from tests.waiting import wait_until

STEP = {"queue": "jsonlines", "parameters": {"output_filename": "{directory}/all.jsonl"}}
MOVED = {"dispatcher": {"class": "Dispatcher", "instances": 2}, "jsonlines": {"class": "JSONLines"}}


def test_a_site_moves_service_by_service_and_back(
    of_site: Callable[..., Daemon],
    plain: Callable[..., Plain],
    site: Site,
    rabbit: RabbitServer,
    tmp_path: Path,
) -> None:
    recipe = {"1": STEP, "start": [[1, {"n": "{n}"}]]}
    (site.recipes / "migrating.json").write_text(json.dumps(recipe))
    submitted = 0

    def go(**more: str) -> None:
        """Submit a recipe by the command `zocalo.go` that the PATH leads to, and wait for its line."""
        nonlocal submitted
        arguments = ["-r", "migrating", "-n", "-s", f"n={submitted}", "-s", f"directory={tmp_path}"]
        submitted += 1
        if more:
            site.run(
                str(Path(more["PATH"].partition(os.pathsep)[0]) / "zocalo.go"), *arguments, check=True, **more
            )
        else:
            site.run("zocalo.go", *arguments, check=True)
        wait_until(lambda: written_by_all() >= set(range(submitted)), f"line {submitted - 1}")

    def written_by_all() -> set[int]:
        return {int(n) for n in written(tmp_path)}

    old = {name: plain("zocalo.service", "-s", name) for name in ("Dispatcher", "JSONLines")}
    old["Dispatcher"].wait_for("Dispatcher starting")
    go()

    # 1. Look, without running anything.
    d = of_site({})
    hosts: dict[str, str] = {}

    def seen() -> bool:
        for name in ("Dispatcher", "JSON Lines"):
            hosts.update((name, one["host"]) for one in of_others(d, name))
        return len(hosts) == 2

    wait_until(seen, "both services of zocalo")

    # 2. One service after the other: beside the old one, then instead of it.
    for count, name in enumerate(("Dispatcher", "JSON Lines"), 1):
        site_keys = {"site": str(site.file), "site_environment": "rabbitmq"}
        d.configure(dict(list(MOVED.items())[:count]), **site_keys)
        d.ctl("reload")
        d.wait_ready()
        go()
        d.ctl("shutdown", hosts[name])
        assert old[name.replace(" ", "")].wait() == 0
        go()
    wait_until(lambda: d.instance("jsonlines/0")["processed"] >= 1, "its settlement")

    # 3. The commands.
    commands = tmp_path / "commands"
    d.ctl("legacy-commands", str(commands))
    ours = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "ZOCALO_SOCKET": str(d.socket)}
    go(**ours)

    # 4. And back. One that consumes exclusively ends under zocalo.service while somebody else does.
    plain("zocalo.service", "-s", "Dispatcher").wait_for("Dispatcher starting")
    d.ctl("stop", "all")
    plain("zocalo.service", "-s", "JSONLines")
    go()
    (transport,) = d.status()["transports"]
    assert transport["spooled"] == transport["unsettled"] == 0
    assert json.loads(d.ctl("--json", "dlq", "list").stdout) == []
    assert d.stop() == 0
    go()
    left: list[dict[str, Any]] = rabbit.api("GET", f"queues/{VHOST}")
    known = {*QUEUES, *TOPICS, *(f"dlq.{name}" for name in QUEUES)}
    assert {one["name"] for one in left if not one["name"].startswith(("amq.gen", "delay."))} <= known
    assert len(written(tmp_path)) == submitted
