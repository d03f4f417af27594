"""The rpm: installed by `rpm --root`, as an image is made, then started, upgraded while it runs, removed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.installed import HOME, SERVICES, SITE, ctl, is_ready, line_of_recipe, main_pid, pids
from tests.systemd.machine import Machine
from tests.systemd.packages import rebuild_as_rpm
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first of them makes the packages

# Where a machine is started from, its files can be seen; scripts of the package need its processes as well.
_AMONG = 'mount -t proc proc "$1/proc" && shift && exec "$@"'


def rpm(root: Path, *arguments: str | Path, within: Machine | None = None) -> str:
    """Run this host's rpm on the files of a root directory; `within` the processes of a machine."""
    enter: list[str] = []
    if within:
        spaces = (f"--mount=/proc/{within.process.pid}/ns/mnt", f"--pid=/proc/{within.leader}/ns/pid")
        enter = ["nsenter", *spaces, "unshare", "--mount", "sh", "-c", _AMONG, "sh", str(root)]
    # The tree is one of Debian, whose packages rpm does not know.
    command = [*enter, "rpm", f"--root={root}", "--dbpath=/var/lib/rpm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def computer(bookworm, packages, tmp_path_factory) -> Iterator[Machine]:
    """A machine whose tree had the package before it was started for the first time."""
    directory = tmp_path_factory.mktemp("rpm")
    tree = directory / "tree"
    subprocess.run(["cp", "-a", bookworm, tree], check=True)
    rpm(tree, "--initdb")
    assert "error" not in rpm(tree, "--install", "--nodeps", packages["rpm"])
    assert rpm(tree, "--verify", "--nodeps", "zocalo-daemon") == ""
    made = Machine(tree, directory / "machine", {SERVICES: "/srv/services"})
    made.write("/etc/zocalo/zocalod.d/site.yaml", SITE)
    made.start()
    yield made
    print(made.journal("-u", "zocalod", "-n", "60"))  # shown if a test fails
    made.close()
    shutil.rmtree(tree)


def test_installed_it_runs_recipes_and_replaces_workers(computer):
    computer.run("systemctl", "start", "zocalod")
    wait_until(lambda: is_ready(computer), "ready")
    assert "by a recipe" in line_of_recipe(computer)
    old = pids(computer)["sink/1"]
    computer.run("sh", "-c", f"kill -9 {old}")
    wait_until(lambda: pids(computer)["sink/1"] not in (None, old), "another worker")
    wait_until(lambda: is_ready(computer), "ready")
    computer.run("systemctl", "reload", "zocalod")


def test_an_upgrade_has_it_take_over_and_restarts_nobody(computer, packages, tmp_path):
    old, main = pids(computer), main_pid(computer)
    later = rebuild_as_rpm(packages["deb"], "0.9.0", tmp_path)
    rpm(computer.directory / "merged", "--upgrade", "--nodeps", later, within=computer)
    assert ctl(computer, "version")["daemon"]["version"] == "0.9.0"
    assert (pids(computer), main_pid(computer)) == (old, main)
    assert computer.run("readlink", f"{HOME}/current").stdout == "0.9.0-rebuilt\n"
    assert computer.read("/etc/zocalo/zocalod.d/site.yaml") == SITE


def test_removed_it_leaves_what_was_changed(computer):
    computer.run("systemctl", "stop", "zocalod.socket", "zocalod")  # what rpm's scripts do where systemd runs
    rpm(computer.directory / "merged", "--erase", "zocalo-daemon", within=computer)
    assert computer.run("ls", HOME, check=False).returncode == 2
    assert computer.read("/etc/zocalo/zocalod.d/site.yaml") == SITE
    assert computer.run("systemctl", "is-enabled", "zocalod", check=False).returncode != 0
