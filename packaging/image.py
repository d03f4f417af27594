"""The files that a deb and an rpm install, in a directory that stands for /."""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

import environment
import sbom
import source

NAME = "zocalo-daemon"
HOME = f"usr/lib/{NAME}"
COMMANDS = {
    "usr/bin/zocalod": ("zocalod", "zocalo_daemon.main"),
    "usr/bin/zocaloctl": ("zocaloctl", "zocalo_daemon.client.main"),
}
SHELLS = {
    "zocaloctl.bash": "usr/share/bash-completion/completions/zocaloctl",
    "_zocaloctl": "usr/share/zsh/vendor-completions/_zocaloctl",
    "zocaloctl.fish": "usr/share/fish/vendor_completions.d/zocaloctl.fish",
}
INSTALLED = Path(__file__).with_name("installed")


def python() -> str:
    """Return the Python that a package is for, such as 3.11: the one that runs here."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreter() -> str:
    """Return where the system has that Python."""
    return f"/usr/bin/python{python()}"


def make(root: Path) -> None:
    """Make the files in a new directory."""
    dist = root / HOME / "dist"
    site = environment.make(environment.Target(python()), dist)
    environment.link_interpreter(dist, interpreter())
    environment.compile_all(site, "/" + str(site.relative_to(root)))
    (dist / "BUILD").write_text(environment.identity(dist) + "\n")
    for path, (command, module) in COMMANDS.items():
        fill(INSTALLED / "command", root / path, {"COMMAND": command, "MODULE": module})
        (root / path).chmod(0o755)
    fill(INSTALLED / "activate", root / HOME / "activate", {})
    (root / HOME / "activate").chmod(0o755)
    _shared(root, site)
    _configuration(root)


def fill(template: Path, file: Path, values: dict[str, str]) -> None:
    """Write a file from a template with @NAME@ in it."""
    text = template.read_text()
    for name, value in {"INTERPRETER": interpreter(), "PYTHON": python(), **values}.items():
        text = text.replace(f"@{name}@", value)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _shared(root: Path, site: Path) -> None:
    for page in sorted((source.ROOT / "docs/man").iterdir()):
        compress(page.read_bytes(), root / f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz")
    for name, where in SHELLS.items():
        place(site / "zocalo_daemon/client/shells" / name, root / where)
    documents = root / f"usr/share/doc/{NAME}"
    for name in source.files():
        if name == "README.md" or (name.startswith("docs/") and not name.startswith("docs/man/")):
            place(source.ROOT / name, documents / name)
    examples = (source.ROOT / "systemd/example.conf", source.ROOT / "etc/logrotate")
    for example in (*examples, *(source.ROOT / "etc/examples").iterdir()):
        place(example, documents / "examples" / example.name)
    sbom.write([site], documents / "sbom.cdx.json")


def _configuration(root: Path) -> None:
    place(source.ROOT / "etc/zocalod.yaml", root / "etc/zocalo/zocalod.yaml")
    (root / "etc/zocalo/zocalod.d").mkdir()
    systemd = source.ROOT / "systemd"
    for unit in sorted((*systemd.glob("*.service"), *systemd.glob("*.socket"))):
        place(unit, root / "usr/lib/systemd/system" / unit.name)
    for kind in ("sysusers", "tmpfiles"):
        place(systemd / f"{NAME}.{kind}", root / f"usr/lib/{kind}.d/{NAME}.conf")


def place(original: Path, file: Path) -> None:
    """Copy a file to where it belongs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, file)


def compress(content: bytes, file: Path) -> None:
    """Write a file as `gzip -9n` does: without name and time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content, 9, mtime=0))
