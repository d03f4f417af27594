"""The file that is both commands: run by its names, by old Pythons, unpacked where nobody else can write."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import daemonkit
from tests.daemonkit import Daemon, let_in
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)  # the first of them makes the packages

# Runs a file by a Python that believes itself to be an old one.
OLD = """
import runpy, sys
sys.version_info = (3, 8, 0, "final", 0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def commands(packages, tmp_path, monkeypatch) -> Path:
    """A directory with the file and links to it, which find this Python first."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "zocalo").write_bytes(packages["binary"].read_bytes())
    (directory / "zocalo").chmod(0o755)
    for name in ("zocalod", "zocaloctl"):
        (directory / name).symlink_to("zocalo")
    (directory / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(daemonkit, "COMMANDS", directory)
    return directory


def run(*command: Path | str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )


def test_it_is_the_command_by_whose_name_it_is_called(commands):
    assert run(commands / "zocalod", "--version").stdout.startswith("zocalod ")
    assert run(commands / "zocaloctl", "--version").stdout.startswith("zocaloctl ")
    assert run(commands / "zocalo", "zocaloctl", "--version").stdout.startswith("zocaloctl ")
    assert run(sys.executable, commands / "zocalo", "zocalod", "--version").stdout.startswith("zocalod ")
    assert run(commands / "zocalo").returncode == 2


def test_a_daemon_runs_from_it_and_takes_over_another_file(commands, tmp_path):
    record = {"class": "trial:Recorder", "environment": {"file": str(tmp_path / "out"), "queue": "in"}}
    d = Daemon(tmp_path, {"record": record, "dispatcher": {"class": "Dispatcher"}})
    recipe = {"1": {"queue": "in"}, "start": [[1, {"said": "by a recipe"}]]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    try:
        d.start()
        d.ctl("go", "-n", "-f", str(tmp_path / "recipe.json"))
        wait_until(lambda: (tmp_path / "out").exists() and "by a recipe" in (tmp_path / "out").read_text())
        old = d.kill("record/0")
        wait_until(lambda: d.instance("record/0")["pid"] not in (None, old), every=0.02)
        d.wait_ready()
        pid = d.instance("record/0")["pid"]
        content = (commands / "zocalo").read_bytes()
        build = content.partition(b'BUILD = "')[2].partition(b'"')[0]
        (commands / "new").write_bytes(content.replace(build, build[:-1] + b"z"))
        (commands / "new").chmod(0o755)
        (commands / "new").rename(commands / "zocalo")
        d.ctl("reexec")
        assert d.instance("record/0")["pid"] == pid
        wait_until(
            lambda: (
                {"relay", "forkserver default"} <= {e["id"] for e in d.events() if e["event"] == "renewed"}
            )
        )
        assert len(list((tmp_path / "cache").iterdir())) == 2
        for part in (d.process.pid, *(f["pid"] for f in d.status()["daemon"]["forkservers"])):
            assert f"/cache/{build[:-1].decode()}z-" in Path(f"/proc/{part}/maps").read_text()
        assert d.ctl("doctor", check=False).stdout.count("loads its services") == 1
        assert d.stop() == 0
    finally:
        d.close()


def test_it_unpacks_where_nobody_else_can_write_and_runs_nothing_from_elsewhere(commands, tmp_path):
    run(commands / "zocalod", "--version")
    code = next((tmp_path / "cache").iterdir())
    assert (tmp_path / "cache").stat().st_mode & 0o022 == 0
    assert code.stat().st_mode & 0o022 == 0
    planted = tmp_path / "open" / code.name
    planted.mkdir(parents=True)
    planted.parent.chmod(0o777)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    let_in(tmp_path)
    home = {"CACHE_DIRECTORY": str(planted.parent), "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(scratch)}
    home["PATH"] = "/usr/bin:/bin"  # where everybody may look for a Python
    somebody = ("setpriv", "--reuid=65534", "--clear-groups", commands / "zocalod", "--version")
    assert "no place for its code" in run(*somebody, **home).stderr
    scratch.chmod(0o1777)
    assert run(*somebody, **home).stdout.startswith("zocalod ")
    assert (scratch / "zocalo-daemon-65534").stat().st_mode & 0o777 == 0o700
    assert list(planted.iterdir()) == []


def test_a_python_that_is_too_old_hands_over_or_says_so(commands, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    script = commands / "zocalod"
    done = run(sys.executable, "-c", OLD, script, "--version", PATH=str(old))
    assert "needs Python 3.11 or later" in done.stderr
    (old / f"python{sys.version_info[0]}.{sys.version_info[1]}").symlink_to(sys.executable)
    done = run(sys.executable, "-c", OLD, script, "--version", PATH=str(old))
    assert done.stdout.startswith("zocalod "), done.stderr


@pytest.fixture
def site(commands, tmp_path) -> Path:
    """A virtual environment of another Python, with what services need there, made without network."""
    python = another_python()
    run(python, commands / "zocalo", "zocalod", "--version")  # unpacks what is for that Python
    (code,) = (tmp_path / "cache").iterdir()
    directory = tmp_path / "site"
    subprocess.run([python, "-m", "venv", "--without-pip", directory], check=True)
    (site,) = directory.glob("lib/python3.*/site-packages")
    for part in code.glob("lib/python3.*/site-packages/*"):
        if not part.name.startswith("zocalo_daemon"):
            part.rename(site / part.name)
    subprocess.run([directory / "bin/python", "-m", "compileall", "-q", site], check=True)
    return directory


def another_python() -> str:
    """Return a Python of 3.11 or later that is not the one that runs here."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in (number for number in (12, 13, 14, 11) if number != sys.version_info.minor):
        for python in (f"python3.{minor}", *map(str, kept.glob(f"3.{minor}.*/bin/python3"))):
            with contextlib.suppress(OSError):
                if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
                    return python
    pytest.fail("this needs another Python, of 3.11 or later")


def test_services_run_in_an_environment_of_the_site_that_stays_as_it_is(commands, site, tmp_path):
    record = {"class": "trial:Recorder", "environment": {"file": str(tmp_path / "out"), "queue": "in"}}
    services = {
        "record": {**record, "runtime": "site"},
        "dispatcher": {"class": "Dispatcher", "runtime": "site"},
    }
    runtime = {"interpreter": str(site / "bin/python"), "python_path": [str(daemonkit.SERVICES)]}
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    d = Daemon(tmp_path, services, runtimes={"site": runtime})
    (tmp_path / "recipe.json").write_text(
        json.dumps({"1": {"queue": "in"}, "start": [[1, {"said": "hello"}]]})
    )
    try:
        d.start()
        d.ctl("go", "-n", "-f", str(tmp_path / "recipe.json"))
        wait_until(lambda: (tmp_path / "out").exists() and "hello" in (tmp_path / "out").read_text())
        pid = d.instance("dispatcher/0")["pid"]
        assert str(site) in Path(f"/proc/{pid}/maps").read_text()
        assert "/cache/" not in Path(f"/proc/{pid}/maps").read_text()
        assert "ok       runtime          site" in d.ctl("doctor", check=False).stdout
        d.ctl("reexec")
        assert d.instance("dispatcher/0")["pid"] == pid
        assert d.stop() == 0
    finally:
        d.close()
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


def test_the_doctor_says_what_an_environment_of_the_site_lacks(commands, site, tmp_path):
    interpreter = str(site / "bin/python")
    services = {"record": {"class": "trial:Recorder", "runtime": "site"}}
    d = Daemon(tmp_path, services, runtimes={"site": {"interpreter": interpreter}})
    for package in ("msgpack", "workflows"):
        (there,) = site.glob(f"lib/python3.*/site-packages/{package}")
        there.rename(tmp_path / package)
        told = d.ctl("doctor", "--config", str(d.config_file), check=False)
        (line,) = (line for line in told.stdout.splitlines() if line.startswith("problem  runtime"))
        assert f"cannot import {package}" in line
        assert line.endswith(f"do: {interpreter} -m pip install {package}")
        assert told.returncode == 1
        (tmp_path / package).rename(there)
