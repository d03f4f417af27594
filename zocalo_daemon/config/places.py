"""Where the configuration stands and where state goes, by user and environment.

Source: XDG Base Directory Specification 0.8 (relative paths in its variables are ignored),
file-hierarchy(7), and systemd.exec(5), which has $STATE_DIRECTORY and $RUNTIME_DIRECTORY for units.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SYSTEM_DIR = Path("/etc/zocalo")
FILE = "zocalod.yaml"
DROP_INS = "zocalod.d"


class Places(NamedTuple):
    """Where everything is for one user.

    Args:
        candidates: configuration files, of which the first that exists is read.
        socket: where the control socket is, unless the configuration says otherwise.
    """

    candidates: tuple[Path, ...]
    state_dir: Path
    socket: Path
    home: Path


def places(environ: Mapping[str, str], uid: int) -> Places:
    """Return the places of a user, or of the unit that this is; `environ` may be without any variable."""
    usual = _usual(environ, uid)
    # Of several directories that the unit asks for, the first is ours.
    own = {name: value.split(":")[0] for name, value in environ.items() if name.endswith("_DIRECTORY")}
    state, runtime = _absolute(own, "STATE_DIRECTORY"), _absolute(own, "RUNTIME_DIRECTORY")
    socket = runtime / "zocalod.sock" if runtime else usual.socket
    return usual._replace(state_dir=state or usual.state_dir, socket=socket)


def _usual(environ: Mapping[str, str], uid: int) -> Places:
    home = _absolute(environ, "HOME") or _home(uid)
    system = SYSTEM_DIR / FILE
    if uid == 0:
        return Places((system,), Path("/var/lib/zocalo"), Path("/run/zocalo/zocalod.sock"), home)
    config = _absolute(environ, "XDG_CONFIG_HOME") or home / ".config"
    state = _absolute(environ, "XDG_STATE_HOME") or home / ".local" / "state"
    runtime = _absolute(environ, "XDG_RUNTIME_DIR")
    own = (_absolute(environ, "TMPDIR") or Path("/tmp")) / f"zocalo-{uid}"  # noqa: S108  (created with mode 700)
    socket = (runtime / "zocalo" if runtime else own) / "zocalod.sock"
    return Places((config / "zocalo" / FILE, system), state / "zocalo", socket, home)


def drop_ins(file: Path) -> list[Path]:
    """Return the files that are merged over `file`, in name order, whether they can be read or not.

    Raises:
        OSError: the directory cannot be listed.
    """
    directory = file.parent / DROP_INS
    try:
        names = os.listdir(directory)  # noqa: PTH208  (Path.iterdir hides where the error comes from)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / name for name in sorted(names) if name.endswith(".yaml") and not name.startswith(".")]


def relay_sockets(control: Path, count: int) -> list[Path]:
    """Return where the relays listen, which is beside the control socket."""
    return [control.with_name(f"relay-{index}.sock" if index else "relay.sock") for index in range(count)]


def _absolute(environ: Mapping[str, str], variable: str) -> Path | None:
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else None


def _home(uid: int) -> Path:
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:  # a container with a number for a user
        return Path("/")


def replaceable(mode: int, owner: int, uid: int) -> bool:
    """Tell whether somebody besides root and the user `uid` can replace files in a directory.

    Args:
        mode, owner: of the directory.
    """
    anybody = mode & stat.S_IWOTH and not mode & stat.S_ISVTX
    return bool(anybody) or owner not in (0, uid)
