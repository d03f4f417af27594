"""Dispatcher and JSONLines in the real daemon: from a request on the control socket to lines in a file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import COMMANDS, Daemon
from tests.waiting import wait_until

RECIPE = {
    "1": {
        "queue": "jsonlines",
        "parameters": {"output_filename": "{directory}/{guid}.jsonl", "exclude": ["x"]},
    },
    "start": [[1, {"text": "hello", "x": 1}]],
}
SERVICES = {"dispatcher": {"class": "Dispatcher"}, "jsonlines": {"class": "JSONLines"}}


def request(d: Daemon, message: Any, *options: str) -> None:
    d.ctl("send", "processing_recipe", "-", *options, stdin=json.dumps(message))


def custom(directory: Path, guid: str, **more: Any) -> dict[str, Any]:
    return {"custom_recipe": {**RECIPE, **more}, "parameters": {"directory": str(directory), "guid": guid}}


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def dead_letters(d: Daemon) -> list[str]:
    return sorted(letter["queue"] for letter in json.loads(d.ctl("--json", "dlq", "list").stdout))


def test_a_named_recipe_runs_with_the_site_configuration(daemon: Any, tmp_path: Path) -> None:
    site, recipes, logbook = tmp_path / "site.yaml", tmp_path / "recipes", tmp_path / "logbook"
    recipes.mkdir()
    (recipes / "hello.json").write_text(json.dumps(RECIPE))
    site.write_text(
        "version: 1\nenvironments: {default: live, live: [paths]}\npaths: {plugin: storage, "
        f"7: 7, zocalo.recipe_directory: {recipes}, zocalo.dispatcher.logbook_location: {logbook}}}\n"
    )
    d = daemon(SERVICES, site=str(site)).start()
    request(d, {"recipes": ["hello"], "parameters": {"directory": str(tmp_path), "guid": "abcd-1"}})
    wait_until(lambda: lines(tmp_path / "abcd-1.jsonl"))
    assert lines(tmp_path / "abcd-1.jsonl") == [{"text": "hello"}]
    (entry,) = logbook.glob("*/ab/*")
    assert entry.name == "cd-1"
    umask = os.umask(0o022)
    os.umask(umask)
    for file in (entry, tmp_path / "abcd-1.jsonl"):  # people read them
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask
    assert dead_letters(d) == []


def test_malformed_messages_are_dead_letters_and_the_services_stay(daemon: Any, tmp_path: Path) -> None:
    d = daemon(SERVICES).start()
    pids = {name: one["pid"] for name, one in d.instances().items()}
    for message in ([1], "text", 7, None, {}, {"parameters": []}, {"recipes": ["hello"]}):
        request(d, message)
    request(d, {"custom_recipe": {**RECIPE, "1": {"queue": "x", "output": 1}}})
    request(d, [], "--header", "workflows-recipe=True")
    d.ctl("send", "jsonlines", "{}")
    d.ctl("send", "jsonlines", '{"recipe": 5, "recipe-pointer": 1}', "--header", "workflows-recipe=True")
    request(d, custom(tmp_path, "good"))
    wait_until(lambda: lines(tmp_path / "good.jsonl"))
    wait_until(lambda: len(dead_letters(d)) == 11)
    assert dead_letters(d) == ["dlq.jsonlines"] * 2 + ["dlq.processing_recipe"] * 9
    assert {name: one["pid"] for name, one in d.instances().items()} == pids
    assert "zocalo.recipe_directory" in d.ctl("logs", "dispatcher").stdout


def test_stopping_writes_what_waits(daemon: Any, tmp_path: Path) -> None:
    d = daemon(SERVICES).start()
    request(d, custom(tmp_path, "one", start=[[1, {"n": n}] for n in range(30)]))
    wait_until(lambda: d.instance("dispatcher/0")["processed"] == 1)
    d.ctl("stop", "jsonlines")
    written = lines(tmp_path / "one.jsonl")
    d.ctl("start", "jsonlines")
    wait_until(lambda: len(lines(tmp_path / "one.jsonl")) == 30)
    assert lines(tmp_path / "one.jsonl")[: len(written)] == written
    assert sorted(line["n"] for line in lines(tmp_path / "one.jsonl")) == list(range(30))


@pytest.mark.parametrize("victim", ["dispatcher/0", "jsonlines/0"])
def test_the_death_of_a_worker_loses_no_line(daemon: Any, tmp_path: Path, victim: str) -> None:
    d = daemon(SERVICES).start()
    for n in range(8):
        request(d, custom(tmp_path, "all", start=[[1, {"n": [n, i]}] for i in range(40)]))
        if n == 4:
            d.kill(victim)
    every = {(n, i) for n in range(8) for i in range(40)}
    wait_until(lambda: {tuple(line["n"]) for line in lines(tmp_path / "all.jsonl")} == every, every=0.1)


def test_one_of_two_instances_writes(daemon: Any, tmp_path: Path) -> None:
    d = daemon({**SERVICES, "jsonlines": {"class": "JSONLines", "instances": 2}}).start()
    for n in range(4):
        request(d, custom(tmp_path, "all", start=[[1, {"n": n}]] * 5))
    wait_until(lambda: len(lines(tmp_path / "all.jsonl")) == 20)
    wait_until(lambda: sum(d.instance(f"jsonlines/{n}")["processed"] for n in (0, 1)) == 20)
    assert 0 in [d.instance(f"jsonlines/{n}")["processed"] for n in (0, 1)]


def test_a_bad_site_configuration_is_told_by_check(daemon: Any, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("version: 1\nenvironments:\n  default: [pathes]\npaths: {plugin: storage}\n")
    d = daemon(SERVICES, site=str(site))
    done = subprocess.run(
        [str(COMMANDS / "zocalod"), "--config", str(d.config_file), "--check"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert f"{site}:3: environments.default: there is no plugin configuration 'pathes'" in done.stderr
