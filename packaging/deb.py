"""The package for Debian and its relatives, by dpkg-deb.

What debhelper would do for a package without a compiler is little more than what stands here, and it wants
the directory debian/ at the top.
"""

from __future__ import annotations

import hashlib
from email.utils import formatdate
from pathlib import Path

import image
import source

HERE = Path(__file__).with_name("deb")
SCRIPTS = ("postinst", "prerm", "postrm")


def make(root: Path, into: Path, release: str) -> Path:
    """Make the package of the files in `root`, which it changes, and return it."""
    version = f"{source.version()}-{release}"
    documents = root / f"usr/share/doc/{image.NAME}"
    image.compress(_changelog(version).encode(), documents / "changelog.Debian.gz")
    image.compress((source.ROOT / "CHANGELOG.md").read_bytes(), documents / "changelog.gz")
    image.place(HERE / "copyright", documents / "copyright")
    image.place(HERE / "overrides", root / f"usr/share/lintian/overrides/{image.NAME}")
    architecture = source.run("dpkg", "--print-architecture").strip()
    _control(root, version, architecture)
    source.date_all(root)
    for script in SCRIPTS:
        (root / "DEBIAN" / script).chmod(0o755)
    file = into / f"{image.NAME}_{version}_{architecture}.deb"
    how = ("--root-owner-group", "-Zxz", "-z3", "--threads-max=1")  # threads would make blocks of it
    source.run("dpkg-deb", *how, "--build", str(root), str(file), SOURCE_DATE_EPOCH=str(source.epoch()))
    return file


def _control(root: Path, version: str, architecture: str) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    control = root / "DEBIAN"
    control.mkdir()
    size = sum((file.stat().st_size + 1023) // 1024 for file in files)
    values = {"VERSION": version, "ARCHITECTURE": architecture, "SIZE": str(size), "MAKER": source.maker()}
    for name in ("control", *SCRIPTS):
        image.fill(HERE / name, control / name, values)
    names = {file: str(file.relative_to(root)) for file in files}
    conffiles = [f"/{name}\n" for name in names.values() if name.startswith("etc/")]
    (control / "conffiles").write_text("".join(conffiles))
    # The format wants MD5 (deb-md5sums(5)): it finds damage, and nobody relies on it for more.
    sums = [f"{hashlib.md5(f.read_bytes()).hexdigest()}  {name}\n" for f, name in names.items()]  # noqa: S324
    (control / "md5sums").write_text("".join(sums))


def _changelog(version: str) -> str:
    return f"""{image.NAME} ({version}) stable; urgency=medium

  * What has changed is in changelog.gz.

 -- {source.maker()}  {formatdate(source.epoch())}
"""
