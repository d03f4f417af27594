"""Debian trees: made once by debootstrap, kept outside of the repository, shared by all who test."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3")
TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "systemd-analyze": "systemd",
}
CACHE = "ZOCALO_TEST_CACHE"  # directory in which trees are kept; default: XDG's


def cache() -> Path:
    """Return the directory of all trees."""
    if given := os.environ.get(CACHE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zocalo-daemon-tests"


def require_tools() -> None:
    """Fail if a tree cannot be made or booted here."""
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        pytest.fail(f"these tests need {' '.join(missing)}: apt-get install {' '.join(missing)}")
    if os.getuid():
        pytest.fail("these tests make and boot a Debian tree: run them as root")


def base(suite: str = "bookworm") -> Path:
    """Return the tree of a suite of Debian, which nobody may write to; the first time it is made."""
    require_tools()
    directory = cache() / f"{suite}-{'-'.join(PACKAGES)}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else's tests may be making the same one
        if not directory.exists():
            _make(suite, directory)
    return directory


def _make(suite: str, directory: Path) -> None:
    unfinished = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(unfinished)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    for package in (unfinished / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    unfinished.rename(directory)


if __name__ == "__main__":
    print(base())
