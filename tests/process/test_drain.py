"""drain and pickup by a real daemon: rows zocalo.queue_drain and zocalo.pickup."""

import fcntl
import json
import os

import pytest

from tests.daemonkit import SERVICES, Daemon


@pytest.fixture(scope="module")
def d(tmp_path_factory):
    """A daemon without services."""
    directory = tmp_path_factory.mktemp("draining")
    (directory / "site.yaml").write_text(
        "version: 1\nenvironments: {default: [storage]}\n"
        f"storage: {{plugin: storage, zocalo.go.fallback_location: {directory}/drop}}\n"
    )
    runtimes = {"default": {"python_path": [str(SERVICES)]}}
    daemon = Daemon(directory, {}, runtimes=runtimes, site=str(directory / "site.yaml"))
    yield daemon.start(ready=False)
    daemon.close()


def count(d, name):
    return {one["name"]: one["ready"] for one in json.loads(d.ctl("queues", "--json").stdout)}.get(name, 0)


def bodies(d, name):
    """Messages of a queue, by way of a dead-letter queue, for that can be looked at."""
    d.ctl("drain", name, f"dlq.{name}", "--wait", "0", "--stop", "0.01")
    return [one for one in json.loads(d.ctl("dlq", "list", name, "--json").stdout)]


def test_drain_moves_all_in_order_with_headers(d):
    for number in range(3):
        d.ctl("send", "src", json.dumps({"n": number}), "--header", f"k={number}")
    done = d.ctl("drain", "src", "dst", "--wait", "0", "--stop", "0.01")
    assert done.stdout.startswith("Reading messages from src\nWriting messages to dst\n")
    assert "   3 message(s) drained in" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("3 message(s) drained, no message seen for")
    assert (count(d, "src"), count(d, "dst")) == (0, 3)
    found = bodies(d, "dst")
    assert [(one["body"], one["headers"]) for one in found] == [
        (f'{{"n": {n}}}', {"k": str(n)}) for n in range(3)
    ]


def test_drain_by_recipe_stops_at_what_it_cannot_place(d):
    recipe = {"recipe": {"1": {"queue": "by-recipe"}}, "recipe-pointer": 1, "environment": {"ID": "abc-1"}}
    d.ctl("send", "mixed", json.dumps(recipe))
    d.ctl("send", "mixed", '{"no": "recipe"}')
    done = d.ctl("drain", "mixed", ".", "--wait", "0", "--stop", "0.01", check=False)
    assert done.returncode == 1
    assert "Recipe ID:    abc-1\nTarget Queue: by-recipe\n" in done.stdout
    assert "Could not determine target queue for message" in done.stderr
    assert (count(d, "mixed"), count(d, "by-recipe")) == (1, 1)


def test_wrong_drains(d):
    assert d.ctl("drain", "a", "a", check=False).returncode == 2
    assert d.ctl("drain", "a", "b", "--transport", "none", check=False).returncode != 0
    done = d.ctl("drain", "nothing-there", "b", "--stop", "0.01", "--json")
    assert json.loads(done.stdout) == {"count": 0}


def test_pickup_submits_oldest_first_what_go_has_dropped(d, tmp_path):
    place = d.directory / "drop"
    for number in (1, 2):
        d.ctl("go", "-r", f"recipe{number}", "--drop", str(number))
        newest = max(place.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, ns=(number, number))
    (place / ".half.part").write_text("{")
    (place / "broken").write_text("{")
    done = d.ctl("pickup", "-w", "0", "-d", "0", check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "Found 3 files"
    assert [line.rpartition(" with ")[2] for line in lines if line.startswith("Sending")] == [
        "recipes recipe1", "recipes recipe2",
    ]  # fmt: skip
    assert [line for line in lines if line.startswith("Done")] == ["Done (1 of 3)", "Done (2 of 3)"]
    assert "broken stays: it is not JSON" in done.stderr
    assert sorted(path.name for path in place.iterdir()) == [".half.part", "broken"]
    found = bodies(d, "processing_recipe")
    assert [json.loads(one["body"])["parameters"] for one in found] == [{"ispyb_dcid": 1}, {"ispyb_dcid": 2}]
    assert set(found[0]["headers"]) == {"zocalo.go.user", "zocalo.go.host"}


def test_two_pickups_do_not_submit_the_same(d, tmp_path):
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = d.ctl("pickup", "--location", str(tmp_path), check=False)
    assert (done.returncode, "another pickup" in done.stderr) == (1, True)
    os.close(lock)
    assert d.ctl("pickup", "--location", str(tmp_path)).stdout == "Found 0 files\n"
