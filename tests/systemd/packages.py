"""Packages for tests: built once a session, and rebuilt as another version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(into: Path, *arguments: str, root: Path = ROOT) -> list[Path]:
    """Make packages by the program in packaging/, and return them."""
    command = [sys.executable, str(root / "packaging/build.py"), str(into), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [Path(line) for line in done.stdout.splitlines()]


def copy(into: Path) -> Path:
    """Copy the source, with what is changed and not committed yet."""
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, into], check=True)
    changed = subprocess.run(["git", "-C", ROOT, "diff", "HEAD"], capture_output=True, check=True).stdout
    if changed:
        subprocess.run(["git", "-C", into, "apply"], input=changed, check=True)
    return into


def rebuild(deb: Path, version: str, into: Path) -> Path:
    """Return a deb of another version of the daemon, otherwise the same."""
    root = into / version
    subprocess.run(["dpkg-deb", "--raw-extract", deb, root], check=True)
    old = set_version(root, version)
    control = root / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {old}", f"Version: {version}"))
    file = into / f"zocalo-daemon_{version}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, file]
    subprocess.run(command, check=True, env={**os.environ}, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
    return file


def rebuild_as_rpm(deb: Path, version: str, into: Path) -> Path:
    """Return an rpm of another version of the daemon, with the files of a deb: a later build of it."""
    root = into / version
    subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)
    set_version(root, version)
    code = """if True:
        import pathlib, sys, rpm
        root, into, rpm.SPEC = map(pathlib.Path, sys.argv[1:])
        print(rpm.make(root, into, release="2"))
    """
    spec = into / "zocalo-daemon.spec"
    text = (ROOT / "packaging/rpm/zocalo-daemon.spec").read_text()
    spec.write_text(text.replace("w3.xzdio", "w1.gzdio"))  # what is quick to make
    env = {**os.environ, "PYTHONPATH": str(ROOT / "packaging")}
    command = [sys.executable, "-c", code, root, into, spec]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(root)
    return Path(done.stdout.splitlines()[-1])


def set_version(root: Path, version: str) -> str:
    """Make the files of a package those of another version of the daemon; return the one that they had."""
    code = next(root.glob("usr/lib/zocalo-daemon/dist/lib/python3.*/site-packages/zocalo_daemon"))
    text = (code / "__init__.py").read_text()
    old = text.partition('__version__ = "')[2].partition('"')[0]
    (code / "__init__.py").write_text(text.replace(f'"{old}"', f'"{version}"'))
    for compiled in (code / "__pycache__").glob("__init__.*.pyc"):
        compiled.unlink()  # its hash is not compared
    (root / "usr/lib/zocalo-daemon/dist/BUILD").write_text(f"{version}-rebuilt\n")
    return old
