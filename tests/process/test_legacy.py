"""zocalo's commands under their own names, by a real daemon: rows zocalo.* and the common flags."""

import argparse
import json
import os
import subprocess

import pytest

from tests.daemonkit import COMMANDS, SERVICES, Daemon
from zocalo_daemon import legacy
from zocalo_daemon.errors import UsageError
from zocalo_daemon.legacy import chosen


@pytest.fixture(scope="module")
def d(tmp_path_factory):
    """A daemon without services, and the programs in its directory `bin`."""
    directory = tmp_path_factory.mktemp("legacy")
    daemon = Daemon(directory, {}, runtimes={"default": {"python_path": [str(SERVICES)]}})
    daemon.start(ready=False)
    daemon.ctl("legacy-commands", str(directory / "bin"))
    yield daemon
    daemon.close()


@pytest.fixture
def run(d, tmp_path):
    """Run a program by its name on PATH, in a directory of its own, with a site configuration."""
    site = tmp_path / "site.yaml"
    site.write_text(
        "version: 1\n"
        "environments: {default: [here], other: [there]}\n"
        f"here: {{plugin: storage, zocalo.go.fallback_location: {tmp_path}/drop}}\n"
        f"there: {{plugin: storage, zocalo.go.fallback_location: {tmp_path}/elsewhere}}\n"
    )

    def call(name, *arguments, stdin="", **more):
        environment = {
            **os.environ, "PATH": f"{d.directory / 'bin'}:{os.environ['PATH']}",
            "ZOCALO_SOCKET": str(d.socket), "ZOCALO_CONFIG": str(site), **more,
        }  # fmt: skip
        return subprocess.run(
            [name, *arguments],
            cwd=tmp_path,
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


def letters(d, queue):
    return json.loads(d.ctl("dlq", "list", queue, "--json").stdout)


def test_go_and_pickup(d, run, tmp_path):
    done = run("zocalo.go", "-r", "one", "-s", "k=v", "17")
    assert (done.returncode, done.stdout) == (
        0,
        "Running recipes ['one']\nfor data collection 17\nsent to queue processing_recipe\n\nSubmitted.\n",
    )
    assert run("zocalo.go", "-r", "one", "--drop", "18").returncode == 0
    assert run("zocalo.go", "-e", "other", "-r", "one", "19", ZOCALO_SOCKET="/nowhere").returncode == 0
    assert [len(list((tmp_path / one).iterdir())) for one in ("drop", "elsewhere")] == [1, 1]
    done = run("zocalo.pickup", "-w", "0", "-d", "0")
    assert done.stdout.startswith("Found 1 files\n")
    assert (
        run("zocalo.queue_drain", "processing_recipe", "dlq.went", "--wait=0", "--stop=0.01").returncode == 0
    )
    found = [json.loads(one["body"])["parameters"] for one in letters(d, "went")]
    assert found == [{"k": "v", "ispyb_dcid": 17}, {"ispyb_dcid": 18}]


def test_a_check_a_purge_and_a_reinject_by_what_was_printed(d, run, tmp_path):
    d.ctl("send", "dlq.legacy", '{"n": 1}', "--header", "k=v")
    done = run("zocalo.dlq_check", "-n", "legacy")
    assert (done.returncode, done.stdout) == (0, "No DLQ messages found\n")
    done = run("zocalo.dlq_check")
    assert (done.returncode, "DLQ for legacy contains 1 entries\n" in done.stdout) == (1, True)
    purged = run("zocalo.dlq_purge", "legacy")
    assert purged.returncode == 0
    (path,) = (tmp_path / "DLQ").rglob("msg-*")
    assert str(path) in purged.stdout
    assert letters(d, "legacy") == []
    back = run("zocalo.dlq_reinject", "-r", "-d", "dlq.back", stdin=purged.stdout)
    assert (back.returncode, path.exists()) == (0, False), back.stderr
    (letter,) = letters(d, "back")
    assert (letter["body"], letter["headers"]) == ('{"n": 1}', {"k": "v", "dlq-reinjected": True})


def test_reinject_takes_files_of_this_directory_without_a_slash(d, run, tmp_path):
    header = {
        "destination": "/queue/DLQ.site.dlq.named",
        "original-destination": "/queue/site.dlq.named",
        "k": "v",
    }
    (tmp_path / "letter").write_text(json.dumps({"header": header, "message": {"n": 2}}))
    assert run("zocalo.dlq_reinject", "letter", "--stomp-prfx", "site").returncode == 0
    assert (
        run("zocalo.dlq_reinject", "letter", "--stomp-prfx", "site", "-d", "site.dlq.elsewhere").returncode
        == 0
    )
    assert len(letters(d, "elsewhere")) == 1
    (letter,) = letters(d, "named")
    assert (letter["body"], letter["headers"]["k"]) == ('{"n": 2}', "v")
    assert run("zocalo.dlq_reinject", "missing").returncode == 1


def test_flags_that_would_send_elsewhere(run):
    for flags in (["-t", "PikaTransport"], ["--rabbit-host", "other"], ["-t", "StompTransport"]):
        for command in (["zocalo.go", "-r", "one", "1"], ["zocalo.shutdown", "-s", "none"]):
            done = run(*command, *flags)
            assert (done.returncode, done.stdout) == (2, "")
            assert "the daemon has no transport for" in done.stderr
    done = run("zocalo.go", "-t", "default", "--rabbit-user", "me", "-r", "one", "--dry-run", "1")
    assert "--rabbit-user: the daemon's own settings count" in done.stderr


def test_shutdown_tells_all_hosts(run):
    done = run("zocalo.shutdown", "-s", "none", "-s", "Dispatcher", "uk.ac.site.ws1.47")
    assert (done.returncode, done.stdout.splitlines()) == (0, [
        "Shutting down uk.ac.site.ws1.47",
        "Stopping all instances of None",
        "Stopping all instances of Dispatcher",
    ]), done.stderr  # fmt: skip
    assert run("zocalo.shutdown").returncode == 2


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [
        (
            ["-n", "-r", "a", "-r", "b"],
            "Running recipes ['a', 'b']\nwithout specified data collection.\n",
            None,
        ),
        (["-p", "5"], "", "\nReprocessing task submitted for ID 5.\n"),
        (["-r", "a", "-a", "9", "017"], "Running recipes ['a']\nfor data collection 17\n", None),
        (["-r", "a", "--dry-run", "17"], "Running recipes ['a']\nfor data collection 17\n", ""),
        (["-r", "a"], "", ""),
        (["17"], "", ""),
        (["-r"], "", ""),
        (["--help"], "", ""),
    ],
)
def test_what_zocalo_go_prints(flags, before, after):
    assert legacy._go_lines(flags) == (before, "\nSubmitted.\n" if after is None else after)


def flagged(**flags):
    return argparse.Namespace(**{"transport": None, "prefix": None, **flags})


@pytest.mark.parametrize(
    ("command", "rest", "flags", "becomes"),
    [
        ("go", ["-n", "-r", "a", "17"], {}, ["-n", "-r", "a"]),
        ("go", ["-n", "-a", "17", "17"], {}, ["-n", "-a", "17"]),
        ("go", ["-r", "a", "17"], {}, ["-r", "a", "17"]),
        ("dlq check", ["-n", "site", "--json"], {"prefix": "site."}, ["--json"]),
        ("dlq check", ["--namespace=other"], {"prefix": "site."}, ["--namespace=other"]),
        ("dlq check", ["-n", "site"], {}, ["-n", "site"]),
        (
            "dlq purge", ["--location=x", "site.images"], {"prefix": "site", "transport": "StompTransport"},
            ["--location=x", "images"],
        ),
        ("dlq purge", ["--location=x", "site.images"], {"prefix": "site"}, ["--location=x", "site.images"]),
    ],
)  # fmt: skip
def test_arguments_that_mean_something_else_here(command, rest, flags, becomes):
    assert legacy._ADAPT[command](rest, flagged(**flags)) == becomes


def test_validate_recipe_is_silent_or_says_which(run, tmp_path):
    (tmp_path / "good.json").write_text('{"1": {"queue": "q"}, "start": [[1, []]]}')
    (tmp_path / "bad.json").write_text("{}")
    done = run("workflows.validate_recipe", "good.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run("workflows.validate_recipe").returncode == 2
    assert run("workflows.validate_recipe", "--help").returncode == 0
    done = run("workflows.validate_recipe", "good.json", "bad.json")
    assert (done.returncode, done.stdout) == (1, "Errors found in the following recipes: ['bad.json']\n")


def test_help_and_nothing_else_of_that_name(d, run, tmp_path):
    assert "usage:" in run("zocalo.dlq_purge", "-?").stdout
    assert "--recipewrapper" in run("zocalo.wrap", "-?").stdout
    assert run("zocalo.wrap", "-t", "PikaTransport").returncode == 2
    (tmp_path / "zocalo.go").write_text("#!/usr/bin/python\n")
    done = d.ctl("legacy-commands", str(tmp_path), check=False)
    assert (done.returncode, "another program" in done.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("zocalo.")] == ["zocalo.go"]
    d.ctl("legacy-commands", str(d.directory / "bin"))  # again
    assert (COMMANDS / "zocaloctl").exists()


RABBIT = {"name": "far", "driver": "rabbitmq", "host": "rmq1:5672"}
HERE = {"name": "default", "driver": "embedded", "host": "/var"}


@pytest.mark.parametrize(
    ("wanted", "hosts", "name"),
    [
        ("PikaTransport", {}, "far"),
        (None, {"rabbit": "rmq0, rmq1"}, "far"),
        ("PikaTransport", {"rabbit": "rmq1"}, "far"),
        ("default", {}, "default"),
    ],
)
def test_which_transport_is_meant(wanted, hosts, name):
    assert chosen([HERE, RABBIT], wanted, hosts) == name


@pytest.mark.parametrize(
    ("wanted", "hosts"), [("StompTransport", {}), ("PikaTransport", {"rabbit": "rmq9"}), ("nothing", {})]
)
def test_what_the_daemon_has_not(wanted, hosts):
    with pytest.raises(UsageError, match="the daemon"):
        chosen([HERE, RABBIT], wanted, hosts)
