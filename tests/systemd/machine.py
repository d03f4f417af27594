"""A machine: a private copy of a Debian tree with its own systemd, started, cut off and started again.

The copy is an overlay (mount(8)) in a mount namespace of its own, and all processes are in a pid namespace of
their own, so that both end with one process. The network is a loopback interface of its own.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.waiting import wait_until
from zocalo_daemon import cgroups

BOOT = 60.0  # seconds
_numbers = itertools.count()

# Arguments: files of the groups to enter, "--", options of the overlay, where to mount it, nspawn's command.
_BEGIN = """
while [ "$1" != -- ]; do echo $$ > "$1" || exit; shift; done; shift
exec setpriv --pdeathsig KILL \\
unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh -c '
    options=$1 merged=$2; shift 2
    mount -t overlay zocalo-tests -o "$options" "$merged" && exec "$@"' sh "$@"
"""


class Machine:
    """A copy of a tree, not yet started.

    Args:
        base: the tree that it is a copy of (tree.base).
        directory: an empty one, for everything of this machine.
        binds: files and directories of this host that it may read: path there, by path here.
    """

    def __init__(self, base: Path, directory: Path, binds: Mapping[Path, str] | None = None) -> None:
        self.base, self.directory, self.binds = base, directory, dict(binds or {})
        self.name = f"zocalo-{os.getpid()}-{next(_numbers)}"
        self.process: subprocess.Popen[bytes] | None = None
        self.leader = 0  # pid of its systemd, as this host sees it
        self._pidfd = -1
        for part in ("upper", "work", "merged"):
            (directory / part).mkdir(parents=True)

    @property
    def root(self) -> Path:
        """Its root directory; while it is off, only what it has changed is there."""
        return Path(f"/proc/{self.leader}/root") if self.leader else self.directory / "upper"

    # -- On and off

    def start(self, *, wait: bool = True) -> Machine:
        """Switch it on, and with `wait` until all that starts by itself has started."""
        groups = self._make_groups()
        with (self.directory / "console").open("ab") as console:
            self.process = subprocess.Popen(
                ["sh", "-c", _BEGIN, "sh", *groups, "--", *self._overlay(), *self._nspawn()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self.leader = wait_until(self._find_leader, "a pid 1", BOOT)
        self._pidfd = os.pidfd_open(self.leader)
        if wait:
            wait_until(self.is_up, f"{self.name} up", BOOT, every=0.05)
        return self

    def is_up(self) -> bool:
        """Return whether it has finished to start; units may have failed."""
        assert self.process and self.process.poll() is None, self.console()
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in (
            "running",
            "degraded",
        )

    def power_cut(self) -> None:
        """End it as the loss of its power would, except that its disk forgets nothing."""
        assert self.process
        # Below unshare, which reaps it, is nspawn, the first of the pid namespace: all others end with it.
        for pid in _below(self.process.pid)[:1] or [self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """Shut it down in good order."""
        assert self.process
        self.run("systemctl", "poweroff", check=False)  # ends itself with the rest
        self.process.wait(BOOT)
        self._ended()

    def close(self) -> None:
        """End it whatever happens, and forget all of it but the console."""
        if self.process:
            self.power_cut()
        for part in ("upper", "work", "merged"):
            shutil.rmtree(self.directory / part)

    def console(self) -> str:
        """Return what it has written to its console."""
        return (self.directory / "console").read_text(errors="replace")

    # -- Inside

    def run(
        self, *command: str, check: bool = True, stdin: str = "", timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root; with `check`, its exit status must be 0."""
        argv = [*self.enter(), *command]
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout, cwd="/", check=False
        )
        assert not check or done.returncode == 0, (
            f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def kill(self, signal: str, pid: int | str) -> None:
        """Send a signal to a process, by its number inside."""
        self.run("sh", "-c", f"kill -{signal} {pid}")

    def enter(self) -> Sequence[str]:
        """Return the beginning of a command line for a process inside."""
        clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG=C.UTF-8"]
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
        return ["nsenter", "--target", str(self.leader), *spaces, *clean]

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file, whether it is on or off."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        """Return what is in a file; while it is off, only in one that it has written."""
        return (self.root / path.lstrip("/")).read_text()

    def journal(self, *options: str) -> str:
        """Return what is in the journal."""
        return self.run("journalctl", "--no-pager", "--quiet", *options).stdout

    # -- What it is made of

    def _overlay(self) -> list[str]:
        upper, work, merged = (str(self.directory / part) for part in ("upper", "work", "merged"))
        return [f"lowerdir={self.base},upperdir={upper},workdir={work}", merged]

    def _nspawn(self) -> list[str]:
        options = ["--boot", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe"]
        binds = [f"--bind-ro={here}:{there}" for here, there in self.binds.items()]
        merged = str(self.directory / "merged")
        return ["systemd-nspawn", f"--directory={merged}", f"--machine={self.name}", *options, *binds]

    def _groups(self) -> list[Path]:
        """Return the groups that are its alone: without them, machines side by side would share one."""
        trees = [one for one in cgroups.hierarchies() if one.unified or "name=systemd" in one.controllers]
        return [tree.group / self.name for tree in trees]

    def _make_groups(self) -> list[str]:
        for group in self._groups():
            group.mkdir(exist_ok=True)
        return [str(group / "cgroup.procs") for group in self._groups()]

    def _find_leader(self) -> int:
        assert self.process
        assert self.process.poll() is None, self.console()
        return next((pid for pid in _below(self.process.pid) if _depth_as_first(pid) == 3), 0)

    def _ended(self) -> None:
        assert self.process
        self.process.wait(BOOT)
        if self._pidfd >= 0:
            select.select([self._pidfd], [], [], BOOT)  # readable when all of its processes have ended
            os.close(self._pidfd)
        self.process, self.leader, self._pidfd = None, 0, -1
        for group in self._groups():
            wait_until(lambda group=group: cgroups.remove(str(group)), f"{group} empty")
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{self.name}", ignore_errors=True)


def _below(pid: int) -> list[int]:
    """Return the pids of all descendants, nearest first."""
    found = [pid]
    for one in found:
        for file in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in file.read_text().split()]
    return found[1:]


def _depth_as_first(pid: int) -> int:
    """Return in how many pid namespaces a process is that is the first in the innermost of them, else 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    pids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return len(pids) if pids[-1] == "1" else 0
