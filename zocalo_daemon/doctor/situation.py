"""What the checks look at and tell each other: whose daemon, which configuration, what it answers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.doctor.access import Account, account
from zocalo_daemon.errors import ZocaloError

SOCKET = "zocalod.sock"  # what the control socket is called, unless the configuration says otherwise
LOCK = "zocalod.lock"  # in the state directory, with the pid of the daemon in it


@dataclass(slots=True)
class Answer:
    """What the daemon has said.

    Args:
        role: of this user, "" if it did not get so far.
        status: the document of `zocaloctl status`; None if it was refused.
        seconds: that it took.
    """

    role: str
    status: dict[str, Any] | None
    seconds: float


@dataclass(slots=True)
class Situation:
    """Filled by the checks in their order; what is not known yet, or could not be found out, is None.

    Args:
        file: the configuration that the operator named.
        socket: the control socket that zocaloctl uses.
        named: somebody named that socket, by an option or $ZOCALO_SOCKET.
        silence: why the daemon did not answer.
        config, site: the configuration, if it can be used.
    """

    file: Path | None
    socket: Path
    named: bool
    environ: Mapping[str, str]
    answer: Answer | None = None
    silence: ZocaloError | None = None
    config: DaemonConfig | None = None
    site: dict[str, Any] | None = None
    user: Account = field(default_factory=lambda: account(os.geteuid()))  # the daemon's

    @property
    def status(self) -> dict[str, Any]:
        """Return the status document, empty if there is none."""
        return (self.answer and self.answer.status) or {}

    @property
    def pid(self) -> int | None:
        """Return the pid of the daemon that has answered."""
        pid = self.status.get("daemon", {}).get("pid")
        return pid if isinstance(pid, int) else None

    def daemon_environ(self) -> Mapping[str, str]:
        """Return the environment that the daemon reads its configuration in.

        That of the running daemon if it can be read (proc(5)); this one's if the daemon would be this user's.
        Where its directories are it says itself: a unit of systemd may have given them to it.
        """
        return {**self._environ_of_daemon(), **self._directories()}

    def _directories(self) -> dict[str, str]:
        state = self.status.get("daemon", {}).get("state_dir")
        if not state or self.socket.name != SOCKET:
            return {}
        return {"STATE_DIRECTORY": state, "RUNTIME_DIRECTORY": str(self.socket.parent)}

    def _environ_of_daemon(self) -> Mapping[str, str]:
        with contextlib.suppress(OSError, TypeError):
            words = Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0")
            pairs = (os.fsdecode(word).partition("=") for word in words if b"=" in word)
            return {name: value for name, _, value in pairs}
        return self.environ if self.user.uid == os.geteuid() else {}


def command_of(pid: int) -> str:
    """Return the command line of a process, "" if there is none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return " ".join(os.fsdecode(word) for word in words if word)


def lock_holder(file: Path) -> int | None:
    """Return the pid that holds a lock of flock(2) on a file, None if nobody does.

    Asked of /proc/locks: to try the lock would keep a daemon from starting that does so at the same moment.
    Device numbers are left out, since some file systems show others there than stat(2) does.

    Raises:
        OSError: the file or the list of locks cannot be read.
    """
    inode = file.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            return int(words[4])
    return None
