"""The file that is both commands.

A zip archive that Python runs (zipapp), of our own: C modules cannot be imported from one, and what unpacks
itself (shiv, pex) knows one command, one Python, and directories that others may be able to write to.
"""

from __future__ import annotations

import io
import platform
import time
import zipfile
from pathlib import Path

import environment
import image
import sbom
import source

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SHEBANG = b"#!/usr/bin/env -S python3 -IS\n"
COMMON = "all"  # files that are the same for every Python


def make(work: Path, into: Path) -> Path:
    """Make the file, by way of the directory `work`, and return it."""
    sites: dict[str, Path] = {}
    for python in PYTHONS:
        own = next(iter(sites.values()), None)
        sites[python] = environment.make(environment.Target(python), work / python, own)
    return _write(sites, environment.identity(work), into)


def _write(sites: dict[str, Path], build: str, into: Path) -> Path:
    """Write the file; `build` tells it from every other one.

    All code is one entry of the archive: Python reads the list of entries at each start.
    """
    stub = (image.INSTALLED / "binary").read_text()
    stub = stub.replace("@BUILD@", build).replace('("@PYTHONS@",)', repr(PYTHONS))
    bill = into / f"zocalo-daemon-{source.version()}.cdx.json"
    sbom.write(list(sites.values()), bill)
    entries = {"__main__.py": stub.encode(), "code.zip": archive(dict(layers(sites)), zipfile.ZIP_DEFLATED)}
    entries["sbom.cdx.json"] = bill.read_bytes()
    file = into / f"zocalo-daemon-{source.version()}.{platform.machine()}"
    file.write_bytes(SHEBANG + archive(entries, zipfile.ZIP_STORED))
    file.chmod(0o755)
    return file


def layers(sites: dict[str, Path]) -> dict[str, bytes]:
    """Return the contents of all files: those that differ by the Python under its name, the others once."""
    contents = {
        python: {str(f.relative_to(site)): f.read_bytes() for f in site.rglob("*") if f.is_file()}
        for python, site in sites.items()
    }
    found: dict[str, bytes] = {}
    for python, files in contents.items():
        for name, content in files.items():
            shared = all(other.get(name) == content for other in contents.values())
            found[f"{COMMON if shared else python}/{name}"] = content
    return found


def archive(entries: dict[str, bytes], compression: int) -> bytes:
    """Return a zip archive that depends on nothing but its entries and the time of the source."""
    packed = io.BytesIO()
    when = time.gmtime(source.epoch())[:6]
    with zipfile.ZipFile(packed, "w", compression) as made:
        for name in sorted(entries):
            about = zipfile.ZipInfo(name, when)
            about.compress_type, about.external_attr, about.create_system = compression, 0o644 << 16, 3
            made.writestr(about, entries[name])
    return packed.getvalue()
