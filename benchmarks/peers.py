"""What users run today, measured the same way: supervisord, circus and zocalo.service.

They live in a virtual environment of their own, made when it is first needed. zocalo.service runs with its
OfflineTransport, so that no broker is needed: its connections to one would only make it slower and larger.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.kit import pss
from tests.waiting import wait_until

HOME = Path(__file__).parent.parent / ".venv-peers"
PACKAGES = ["supervisor", "setuptools<80", "zocalo", "pika", "stomp.py", "circus"]


def binaries() -> Path:
    """Return the directory of the peers' commands."""
    stamp, wanted = HOME / ".installed", " ".join(PACKAGES)
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
        pip: list[str | Path] = [
            HOME / "bin" / "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *PACKAGES,
        ]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
        stamp.write_text(wanted)
    return HOME / "bin"


def _supervisord(directory: Path, count: int) -> list[str | Path]:
    """Return the command of a supervisord with so many processes of `sleep`."""
    directory.mkdir(parents=True)
    config = directory / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={directory}/log\npidfile={directory}/pid\n"
        f"[program:sleep]\ncommand=sleep 1000\nnumprocs={count}\nprocess_name=s%(process_num)d\n"
        "startsecs=0\nautorestart=true\n"
    )
    return [binaries() / "supervisord", "-c", config]


def _circus(directory: Path, count: int) -> list[str | Path]:
    """The same of circus, with sockets of its own."""
    directory.mkdir(parents=True)
    config = directory / "circus.ini"
    sockets = "".join(f"{name} = ipc://{directory}/{name}\n" for name in ("endpoint", "pubsub_endpoint"))
    config.write_text(
        f"[circus]\n{sockets}\n[watcher:sleep]\ncmd = sleep\nargs = 1000\nnumprocesses = {count}\n"
        "warmup_delay = 0\nmax_retry = -1\n"
    )
    return [binaries() / "circusd", config]


def supervisord_herd(directory: Path, count: int) -> tuple[float, str]:
    """Return the seconds from the death of all processes until supervisord has as many new ones."""
    return _herd(_supervisord(directory, count), count), "supervisord, to mere processes"


def circus_herd(directory: Path, count: int) -> tuple[float, str]:
    """The same of circus."""
    return _herd(_circus(directory, count), count), "circus, to mere processes"


def _herd(command: list[str | Path], count: int) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        children = wait_until(lambda: _children(process.pid, count), timeout=60, every=0.01)
        time.sleep(2)
        began = time.perf_counter()
        for child in children:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: len(_children(process.pid, count) - children) == count, timeout=60, every=0.005)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def supervisord_replacement(directory: Path, kills: int) -> tuple[float, str]:
    """Return the median milliseconds from kill -9 until supervisord has a new process, of `sleep`."""
    command = _supervisord(directory, kills)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        children = wait_until(lambda: _children(process.pid, kills), every=0.001)
        times: list[float] = []
        for child in sorted(children):
            began = time.perf_counter()
            os.kill(child, signal.SIGKILL)
            wait_until(lambda: len(_children(process.pid, kills) - children) > len(times), every=0.001)
            times.append((time.perf_counter() - began) * 1000)
    finally:
        process.terminate()
        process.wait()
    return statistics.median(times), "supervisord, to a mere process"


def _children(pid: int, count: int) -> set[int]:
    """Return the pids of the children that run, once there are `count` of them."""
    found = set()
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
    return found if len(found) == count else set()


@dataclass(frozen=True)
class Services:
    """Some zocalo.service: seconds until all serve, MiB for each of them."""

    seconds: float
    mebibytes: float


def zocalo_services(directory: Path, count: int) -> Services:
    """Start `count` zocalo.service with a sample service; ready means that each has its worker process."""
    directory.mkdir(parents=True)
    command: list[str | Path] = [
        binaries() / "zocalo.service",
        "-s",
        "SampleConsumer",
        "-t",
        "OfflineTransport",
        "-v",
    ]
    began = time.perf_counter()
    processes = []
    for number in range(count):
        with (directory / str(number)).open("wb") as log:
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    try:
        for process in processes:
            wait_until(psutil.Process(process.pid).children)
        seconds = time.perf_counter() - began
        time.sleep(2)
        family = [psutil.Process(p.pid) for p in processes]
        family += [child for parent in family for child in parent.children()]
        return Services(seconds, pss(family) / count)
    finally:
        for child in family[count:]:
            child.kill()
        for process in processes:
            process.kill()
            process.wait()
