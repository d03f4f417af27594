"""A real zocalod for tests: its own directory, socket and state; ended by its pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.waiting import DEADLINE, wait_until

SERVICES = Path(__file__).parent / "services"  # importable by the daemon's forkserver
COMMANDS = Path(sys.executable).parent  # where pip has put zocalod and zocaloctl


def let_in(directory: Path) -> None:
    """Let every user of the machine into a directory of this run, and into those above it."""
    above = Path(tempfile.gettempdir())
    for one in (directory, *directory.parents):
        if one != above and one.is_relative_to(above):
            one.chmod(0o755)


class Daemon:
    """zocalod in `directory`, with the given services (configuration as in zocalod.yaml)."""

    def __init__(self, directory: Path, services: dict[str, Any], **more: Any) -> None:
        self.directory = directory
        self.socket = directory / "zocalod.sock"
        self.state_dir = directory / "state"
        self.config_file = directory / "zocalod.yaml"
        self.command = COMMANDS / "zocalod"
        self.process: subprocess.Popen[bytes] | None = None
        self.configure(services, **more)

    def configure(self, services: dict[str, Any], **more: Any) -> None:
        """Write the configuration file; `more` are further top-level keys."""
        more.setdefault("runtimes", {}).setdefault("default", {}).setdefault("python_path", [str(SERVICES)])
        config = {
            "version": 1,
            "state_dir": str(self.state_dir),
            "control": {"socket": str(self.socket)},
            "services": services,
            **more,
        }
        self.config_file.write_text(yaml.safe_dump(config))

    def start(
        self, *, ready: bool = True, env: dict[str, str] | None = None, within: Sequence[str] = ()
    ) -> Daemon:
        """Start it; with `ready`, wait until every service is. `within` is a command that becomes zocalod."""
        with (self.directory / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                [*within, str(self.command), "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )
        wait_until(lambda: self.socket.exists() or self.process.poll() is not None, every=0.001)
        assert self.process.poll() is None, self.stderr()
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until every wanted instance is ready."""
        wait_until(lambda: self.ctl("status", check=False).returncode == 0, every=0.05)

    def stop(self) -> int:
        """SIGTERM; return its exit status."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        """End it whatever happens; what it had started ends with it."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stderr(self) -> str:
        """Return what it has logged."""
        return (self.directory / "stderr").read_text(errors="replace")

    def ctl(
        self, *args: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run zocaloctl; with `check`, its exit status must be 0."""
        result = subprocess.run(
            [str(COMMANDS / "zocaloctl"), "--socket", str(self.socket), *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or result.returncode == 0, (
            f"{args}: {result.returncode}\n{result.stdout}{result.stderr}"
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def status(self) -> dict[str, Any]:
        """Return the status document."""
        return json.loads(self.ctl("--json", "status", check=False).stdout)

    def events(self) -> list[dict[str, Any]]:
        """Return every event so far."""
        return json.loads(self.ctl("--json", "events", "-n", "1000").stdout)

    def instances(self) -> dict[str, dict[str, Any]]:
        """Return every instance of the status document, by id."""
        return {i["id"]: i for service in self.status()["services"] for i in service["instances"]}

    def instance(self, name: str) -> dict[str, Any]:
        """Return one instance."""
        return self.instances()[name]

    def wait_state(self, name: str, state: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """Wait until an instance is in a state, and return it."""

        def look() -> dict[str, Any] | None:
            found = self.instances().get(name)
            return found if found and found["state"] == state else None

        return wait_until(look, f"{name} {state}", timeout)

    def kill(self, name: str) -> int:
        """SIGKILL an instance's worker; return the pid that it had."""
        pid = self.instance(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid
