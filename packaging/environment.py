"""The private environment that all packages contain: zocalo_daemon and what it needs, as venv lays it out.

It is put together from wheels, which need no code to be run: the lock file has their versions and hashes, and
pip fetches those of a Python and a machine that need not be the ones that run here. Wheels with C modules are
for one Python; the pure replacements of msgpack and PyYAML would cost every message and every start.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import source
from packaging.requirements import Requirement

LOCK = Path(__file__).with_name("requirements.lock")
# workflows 3.3 names it and imports nothing of it; here it builds our own wheel.
NOT_BUNDLED = "setuptools"
# From RHEL 8 on: glibc 2.28. A wheel says the oldest that it runs with (PEP 600, PEP 513).
_GLIBC = ("_2_28", "_2_17", "2014", "_2_12", "2010", "_2_5", "1")


class Target(NamedTuple):
    """A Python that an environment is for, such as 3.11, and the machine's architecture."""

    python: str
    machine: str = platform.machine()


def requirements(target: Target) -> list[str]:
    """Return the lines of the lock file that hold for a Python, without their conditions."""
    lines = LOCK.read_text().replace("\\\n", "").splitlines()
    where = {"python_full_version": f"{target.python}.0", "python_version": target.python}
    found = []
    for line in lines:
        if line.startswith("#"):
            continue
        name, *hashes = line.split(" --hash=")
        one = Requirement(name.strip())
        if one.marker is None or one.marker.evaluate(where):  # pip would ask the Python that it runs in
            found.append(" --hash=".join([f"{one.name}{one.specifier}", *(h.strip() for h in hashes)]))
    return found


def fetch(target: Target, into: Path) -> list[Path]:
    """Return the wheels for a Python, fetched by pip, which compares them with the lock file.

    PIP_NO_INDEX and PIP_FIND_LINKS make it take them from a directory.
    """
    chosen = into / "requirements.txt"
    chosen.write_text("\n".join(requirements(target)) + "\n")
    platforms = [f"--platform=manylinux{glibc}_{target.machine}" for glibc in _GLIBC]
    command = [sys.executable, "-m", "pip", "download", "-qqq", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}", *platforms]
    source.run(*command, "--dest", str(into), "--requirement", str(chosen))
    return sorted(into.glob("*.whl"))


def unpack(wheel: Path, site: Path) -> None:
    """Unpack what a wheel has for site-packages (PEP 427); commands, headers and tests are of no use here."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            top, *rest = name.split("/")
            if not top.endswith(".data") and "tests" not in rest:
                archive.extract(name, site)


def make(target: Target, directory: Path, own: Path | None = None) -> Path:
    """Make an environment without its interpreter, and return its site-packages.

    Args:
        own: site-packages of another one, whose zocalo_daemon it gets; None makes it anew.
    """
    site = directory / f"lib/python{target.python}/site-packages"
    site.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        wheels, build, builder = (Path(work) / name for name in ("wheels", "build", "builder"))
        wheels.mkdir()
        build.mkdir()
        for wheel in fetch(target, wheels):
            unpack(wheel, builder if wheel.name.startswith(f"{NOT_BUNDLED}-") else site)
        if own is None:
            unpack(source.own_wheel(builder, build), site)
    for part in own.glob("zocalo_daemon*") if own else ():
        shutil.copytree(part, site / part.name)
    for record in site.glob("*.dist-info/RECORD"):
        record.unlink()  # pip would believe that it may uninstall from here
    return site


def compile_all(site: Path, installed: str) -> None:
    """Compile all modules, for the Python that runs here.

    With unchecked hashes instead of times (PEP 552): the same bytes each time, nothing to compare at a start.

    Args:
        installed: path that `site` will have.
    """
    strip = ["-s", str(site), "-p", installed]
    how = ["--invalidation-mode", "unchecked-hash", "-q", "-j", "1"]
    source.run(sys.executable, "-I", "-m", "compileall", *how, *strip, str(site))


def link_interpreter(directory: Path, interpreter: str) -> None:
    """Make an environment one of an interpreter (pyvenv.cfg of PEP 405)."""
    (directory / "bin").mkdir()
    (directory / "bin/python3").symlink_to(interpreter)
    home = str(Path(interpreter).parent)
    (directory / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")


def identity(directory: Path) -> str:
    """Return the version with a hash of all files: two builds of one version are told apart by it."""
    digest = hashlib.sha256()
    for file in sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(directory)} {content}\n".encode())
    return f"{source.version()}-{digest.hexdigest()[:12]}"
