"""A real daemon to measure, and what its processes cost."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from tests import daemonkit
from tests.controlkit import Control

SERVICES = Path(__file__).parent / "services"


class Daemon(daemonkit.Daemon):
    """zocalod with the given services in a directory of its own; a context manager."""

    def __init__(self, directory: Path, services: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, services, runtimes={"default": {"python_path": [str(SERVICES)]}})

    def __enter__(self) -> Daemon:
        self.start(ready=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the supervisor's pid."""
        assert self.process
        return self.process.pid

    def control(self) -> Control:
        """Return a new connection."""
        return Control(self.socket)

    def family(self) -> list[psutil.Process]:
        """Return every process of the daemon, the supervisor first."""
        supervisor = psutil.Process(self.pid)
        return [supervisor, *supervisor.children(recursive=True)]


def context_switches(pids: list[int]) -> int:
    """Return how often these processes have gone to sleep and woken up (proc(5))."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


def cpu_time(processes: list[psutil.Process]) -> float:
    """Return the processor time of some processes so far, all threads together, in seconds.

    By the scheduler's own count in nanoseconds: that of times(2) has steps of 10 ms.
    """
    tasks = [path for process in processes for path in Path(f"/proc/{process.pid}/task").iterdir()]
    return sum(int((path / "schedstat").read_text().split()[0]) for path in tasks) / 1e9


def pss(processes: list[psutil.Process]) -> float:
    """Return the proportional set size of some processes in MiB."""
    return sum(process.memory_full_info().pss for process in processes) / 2**20


def timed(command: list[Any]) -> float:
    """Return the seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=os.environ)
    return time.perf_counter() - began
