"""What a site adds to the Dispatcher: hooks and filters by entry point, its directories, and their troubles.

compatibility.md, 1: Dispatcher; entry-point groups `zocalo.services.dispatcher.*`; storage keys.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import SERVICES, Daemon
from tests.process.test_misbehaviour_places import mounted, root
from tests.waiting import wait_until

STEP = {"queue": "jsonlines", "parameters": {"output_filename": "{directory}/{guid}"}}
RECIPE = {"1": STEP, "start": [[1, {"ok": 1}]]}
DISPATCHER = {"class": "zocalo_daemon.services.dispatcher:Dispatcher"}
BOTH = {"dispatcher": DISPATCHER, "jsonlines": {"class": "zocalo_daemon.services.jsonlines:JSONLines"}}
SITE_CODE = '''\
from pathlib import Path

def arrived(message, parameters):
    """Whether the file is there that a request waits for."""
    return "wait_for" not in parameters or Path(parameters["wait_for"]).exists()

def beamline(message, parameters):
    """Know where results go."""
    if parameters.get("beamline") == "closed":
        raise ValueError("there is no such beamline")
    return message, {**parameters, "directory": parameters.get("directory", parameters.get("visit"))}
'''
ENTRY_POINTS = """\
[zocalo.services.dispatcher.ready_for_processing]
arrived = sitecode:arrived
[zocalo.services.dispatcher.filters]
beamline = sitecode:beamline
"""


def site(directory: Path, **storage: Path) -> str:
    """Write a site configuration and return its path."""
    keys = {"recipes": "zocalo.recipe_directory", "logbook": "zocalo.dispatcher.logbook_location"}
    values = {keys[name]: str(path) for name, path in storage.items()}
    file = directory / "site.yaml"
    paths = {"plugin": "storage", **values}
    file.write_text(json.dumps({"version": 1, "environments": {"default": ["paths"]}, "paths": paths}))
    return str(file)


def request(d: Daemon, guid: str, directory: Path, **parameters: Any) -> None:
    message = {
        "custom_recipe": RECIPE,
        "parameters": {"guid": guid, "directory": str(directory), **parameters},
    }
    d.ctl("send", "processing_recipe", json.dumps(message))


def waiting(d: Daemon, queue: str) -> int:
    queues = {one["name"]: one for one in json.loads(d.ctl("--json", "queues").stdout)}
    return queues[queue]["ready"] + queues[queue]["delayed"] if queue in queues else 0


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, Any]:
    """The runtimes of a configuration, in which a package of the site is installed."""
    place = tmp_path / "packages"
    (place / "sitecode-1.0.dist-info").mkdir(parents=True)
    (place / "sitecode.py").write_text(SITE_CODE)
    (place / "sitecode-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: sitecode\nVersion: 1.0\n"
    )
    (place / "sitecode-1.0.dist-info/entry_points.txt").write_text(ENTRY_POINTS)
    return {"default": {"python_path": [str(SERVICES), str(place)]}}


def test_hooks_and_filters_of_the_site(daemon: Any, installed: dict[str, Any], tmp_path: Path) -> None:
    d = daemon(BOTH, runtimes=installed).start()
    never = str(tmp_path / "never")
    began = time.monotonic()
    request(d, "late", tmp_path, wait_for=str(tmp_path / "file"))
    request(d, "lost", tmp_path, wait_for=never, dispatcher_timeout=1)
    request(d, "sorry", tmp_path, wait_for=never, dispatcher_timeout=1, dispatcher_error_queue="too.late")
    request(d, "closed", tmp_path, beamline="closed")
    d.ctl(
        *("send", "processing_recipe"),
        json.dumps({"custom_recipe": RECIPE, "parameters": {"guid": "visit", "visit": str(tmp_path)}}),
    )
    wait_until((tmp_path / "visit").exists)
    wait_until(lambda: waiting(d, "processing_recipe") == 3)
    (tmp_path / "file").write_text("")
    wait_until((tmp_path / "late").exists)
    assert time.monotonic() - began > 2
    wait_until(lambda: waiting(d, "too.late") == 1 and waiting(d, "dlq.processing_recipe") == 2)
    log = d.ctl("logs", "dispatcher").stdout
    assert "Request is put off: not ready for processing" in log
    assert "sent to queue too.late, after its time limit still not ready" in log
    assert "Rejected message: after its time limit still not ready for processing" in log
    assert "Rejected message: filter beamline failed: ValueError: there is no such beamline" in log
    assert sorted(path.name for path in tmp_path.glob("[clsv]*") if path.is_file()) == ["late", "visit"]


def test_a_recipe_directory_that_is_away_for_a_while(daemon: Any, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    d = daemon(BOTH, site=site(tmp_path, recipes=recipes)).start()
    message = {"recipes": ["one"], "parameters": {"guid": "one", "directory": str(tmp_path)}}
    d.ctl("send", "processing_recipe", json.dumps(message))
    line = f"Request cannot be handled now: the recipe directory {recipes} cannot be read"
    wait_until(lambda: line in d.ctl("logs", "dispatcher").stdout)
    recipes.mkdir()
    (recipes / "one.json").write_text(json.dumps(RECIPE))
    wait_until((tmp_path / "one").exists)
    assert waiting(d, "dlq.processing_recipe") == 0


def test_a_recipe_directory_that_may_not_be_read_for_a_while(daemon: Any, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "one.json").write_text(json.dumps(RECIPE))
    recipes.chmod(0)
    # To root as well, permissions are to mean something.
    plain = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    d = daemon(BOTH, site=site(tmp_path, recipes=recipes)).start(within=plain)
    message = {"recipes": ["one"], "parameters": {"guid": "one", "directory": str(tmp_path)}}
    d.ctl("send", "processing_recipe", json.dumps(message))
    line = "Request cannot be handled now: "
    wait_until(lambda: line in d.ctl("logs", "dispatcher").stdout)
    assert "Permission denied" in d.ctl("logs", "dispatcher").stdout
    recipes.chmod(0o755)
    wait_until((tmp_path / "one").exists)
    assert waiting(d, "dlq.processing_recipe") == 0


@root
def test_a_full_disk_under_logbook_and_results(daemon: Any, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        d = daemon(BOTH, site=site(tmp_path, logbook=disk / "logbook")).start()
        with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        request(d, "good", tmp_path)
        request(d, "full", disk)
        wait_until((tmp_path / "good").exists)
        wait_until(lambda: waiting(d, "dlq.jsonlines") == 1)
        logs = d.ctl("logs", "dispatcher", "jsonlines").stdout
        assert f"Nothing is written to the logbook: cannot write {disk / 'logbook'}/" in logs
        assert f"cannot write {disk / 'full'}: No space left on device" in logs
        assert logs.count("No space left on device") == 3
        (disk / "ballast").unlink()
        d.ctl("dlq", "reinject", "dlq.jsonlines")
        wait_until(lambda: (disk / "full").exists() and (disk / "full").read_text())
        request(d, "again", tmp_path)
        wait_until(lambda: list((disk / "logbook").glob("*/ag/ain")))
        d.stop()
