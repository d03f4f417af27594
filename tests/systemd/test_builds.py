"""Packages: the same bytes each time, nothing that lintian or rpmlint forbid, a list of what they contain."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.systemd.packages import ROOT

pytestmark = pytest.mark.timeout(600)  # the first of them makes the packages

LOCK = ROOT / "packaging/requirements.lock"


def test_the_same_input_gives_the_same_bytes(builds):
    first, second = builds
    for kind, package in first.items():
        assert package.name == second[kind].name
        assert digest(package) == digest(second[kind]), kind


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_lintian_finds_no_error(packages):
    done = subprocess.run(["lintian", "--allow-root", packages["deb"]], capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("E:")] == []
    assert done.returncode == 0


def test_rpmlint_finds_no_error(packages):
    config = ROOT / "packaging/rpm/rpmlint.toml"
    done = subprocess.run(["rpmlint", "--config", config, packages["rpm"]], capture_output=True, text=True)
    assert "1 packages and 0 specfiles checked; 0 errors" in done.stdout, done.stdout


def test_the_list_of_contents_has_every_locked_package_with_its_licence(packages):
    archive = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", packages["deb"]], capture_output=True, check=True
    ).stdout
    where = "./usr/share/doc/zocalo-daemon/sbom.cdx.json"
    listed = json.loads(
        subprocess.run(["tar", "-xO", where], input=archive, capture_output=True, check=True).stdout
    )
    found = {one["name"]: one["version"] for one in listed["components"]}
    locked = dict(
        re.findall(r"^([a-z0-9-]+)==(\S+)(?! ; python_full_version >=)", LOCK.read_text(), re.MULTILINE)
    )
    del locked["setuptools"]  # builds our own package, and is in none
    assert found.keys() == locked.keys()
    assert all(found[name] == version for name, version in locked.items() if name != "workflows")
    assert all(one["licenses"] for one in listed["components"])
    assert listed["metadata"]["component"]["name"] == "zocalo-daemon"


def test_the_lock_file_has_what_the_package_depends_on():
    needed = re.findall(
        r'^    "([A-Za-z.]+)>=',
        (ROOT / "pyproject.toml").read_text().partition("[project.optional")[0],
        re.MULTILINE,
    )
    locked = re.findall(r"^([a-z0-9-]+)==", LOCK.read_text(), re.MULTILINE)
    assert len(needed) > 5
    assert {name.lower().replace(".", "-") for name in needed} <= set(locked)
