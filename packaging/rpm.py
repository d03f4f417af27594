"""The package for RHEL, Fedora and their relatives, by rpmbuild."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from pathlib import Path

import image
import source

SPEC = Path(__file__).with_name("rpm") / f"{image.NAME}.spec"
OWN = (
    "etc/zocalo",
    "usr/lib/zocalo-daemon",
    "usr/share/doc/zocalo-daemon",
)  # directories that end with the package


def make(root: Path, into: Path, release: str) -> Path:
    """Make the package of the files in `root`, which it changes, and return it."""
    documents = root / f"usr/share/doc/{image.NAME}"
    image.place(source.ROOT / "CHANGELOG.md", documents / "CHANGELOG.md")
    image.place(source.ROOT / "LICENSE", root / f"usr/share/licenses/{image.NAME}/LICENSE")
    vendor, site = (root / f"usr/share/zsh/{name}" for name in ("vendor-completions", "site-functions"))
    vendor.rename(site)
    source.date_all(root)
    work = into / "rpmbuild"
    work.mkdir()
    values = {
        "VERSION": source.version(),
        "RELEASE": release,
        "INTERPRETER": image.interpreter(),
        "ROOT": str(root),
        "FILES": "\n".join(_files(root)),
        "DATE": time.strftime("%a %b %d %Y", time.gmtime(source.epoch())),
        "MAKER": source.maker(),
    }
    spec = work / SPEC.name
    image.fill(SPEC, spec, values)
    command = ["rpmbuild", "-bb", "--quiet", f"--define=_topdir {work}", f"--define=_rpmdir {into}"]
    command += ["--define=_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm", str(spec)]
    source.run(*command, SOURCE_DATE_EPOCH=str(source.epoch()))
    source.run("rm", "-r", str(work))
    return into / f"{image.NAME}-{source.version()}-{release}.{platform.machine()}.rpm"


def _files(root: Path) -> Iterator[str]:
    """Yield the lines of %files: directories that others have too are theirs."""
    yield "%defattr(-,root,root,-)"
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_dir() and not path.is_symlink():
            if name.is_relative_to("usr/share/licenses/zocalo-daemon") or any(
                name.is_relative_to(own) for own in OWN
            ):
                yield f'%dir "/{name}"'
        elif name.is_relative_to("etc"):
            yield f'%config(noreplace) "/{name}"'
        elif name.is_relative_to("usr/share/doc") or name.is_relative_to("usr/share/man"):
            yield f'%doc "/{name}"'
        elif name.is_relative_to("usr/share/licenses"):
            yield f'%license "/{name}"'
        else:
            yield f'"/{name}"'
