"""What is packaged: the files that git knows, as they are now; their version, and the time of all files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The wheel is made by what the lock file names, and not by what happens to be installed.
_BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def version() -> str:
    """Return the version of zocalo_daemon."""
    text = (ROOT / "zocalo_daemon/__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def epoch() -> int:
    """Return seconds since 1970: SOURCE_DATE_EPOCH if it is set, else the time of the last commit.

    https://reproducible-builds.org/specs/source-date-epoch/
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or run("git", "-C", str(ROOT), "log", "-1", "--format=%ct"))


def maker() -> str:
    """Return who makes the package, as dch(1) finds it out."""
    name = os.environ.get("DEBFULLNAME", "zocalo_daemon developers")
    return f"{name} <{os.environ.get('DEBEMAIL', 'zocalo-daemon@localhost.localdomain')}>"


def run(*command: str, **more: str) -> str:
    """Run a command with the environment `more` besides, and return its output."""
    env = {**os.environ, "SOURCE_DATE_EPOCH": "", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", **more}
    if not env["SOURCE_DATE_EPOCH"]:
        del env["SOURCE_DATE_EPOCH"]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True).stdout


def files() -> list[str]:
    """Return the names of the files that git knows."""
    names = run("git", "-C", str(ROOT), "ls-files", "-z").split("\0")[:-1]
    return sorted(name for name in names if (ROOT / name).exists())


def copy(into: Path) -> None:
    """Copy these files: builds leave traces in their source."""
    for name in files():
        file = into / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((ROOT / name).read_bytes())


def own_wheel(setuptools: Path, work: Path) -> Path:
    """Return a wheel of zocalo_daemon, made in `work` by a wheel of setuptools."""
    copy(work / "source")
    script = f"import os, sys; os.chdir(sys.argv.pop(1)); {_BUILD}"
    command = (sys.executable, "-c", script, str(work / "source"), str(work))
    run(*command, PYTHONPATH=str(setuptools), SOURCE_DATE_EPOCH=str(epoch()))
    return next(work.glob("zocalo_daemon-*.whl"))


def date_all(tree: Path) -> None:
    """Give every file of a tree the time of the source, and modes that do not depend on who builds."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch(), epoch()), follow_symlinks=False)
