"""The two sides of a comparison: the same services under zocalod, and each under a zocalo.service."""

from __future__ import annotations

import abc
import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import peers
from benchmarks.kit import SERVICES
from tests import daemonkit
from tests.controlkit import Direct

MODULE = "compare_services"

Process = psutil.Process


class Side(abc.ABC):
    """One of them; what it runs, it runs in a directory of its own.

    Args:
        broker: RabbitServer or ActiveServer of the tests.
        driver: by which zocalod knows it.
    """

    def __init__(self, broker: Any, driver: str) -> None:
        self.broker, self.driver = broker, driver
        self.directory: Path

    @contextlib.contextmanager
    def running(self, classes: Sequence[str]) -> Iterator[None]:
        """Run these classes of compare_services, one service each; they may still be connecting."""
        with tempfile.TemporaryDirectory(prefix="zocalo-side-") as directory:
            self.directory = Path(directory)
            try:
                self.start(classes)
                yield
            finally:
                self.end()

    @abc.abstractmethod
    def start(self, classes: Sequence[str]) -> None:
        """Start the services."""

    @abc.abstractmethod
    def end(self) -> None:
        """End all processes."""

    @abc.abstractmethod
    def family(self) -> list[Process]:
        """Return all processes."""

    @abc.abstractmethod
    def go(self) -> list[str | Path]:
        """Return the command that submits a recipe."""

    def cpu(self) -> float:
        """Return the seconds of CPU that the processes have taken."""
        times = [process.cpu_times() for process in self.family()]
        return sum(one.user + one.system for one in times)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have all processes stand still."""
        family = self.family()  # the supervisor first: it is not to see that its children do
        for process in family:
            process.suspend()
        yield
        for process in reversed(family):
            process.resume()

    def connections(self) -> int:
        """Return how many connections to the broker there are."""
        found = [one for process in self.family() for one in process.net_connections("tcp")]
        # Each once: a process that forks has its connections in common with its children.
        return len({one.laddr for one in found if one.raddr and one.raddr.port == self.broker.port})


class Ours(Side):
    """One zocalod; all of its processes count, the supervisor too."""

    def start(self, classes: Sequence[str]) -> None:
        """Start it, and wait until the services are ready."""
        services = {one.lower(): {"class": f"{MODULE}:{one}"} for one in classes}
        more: dict[str, Any] = {"runtimes": {"default": {"python_path": [str(SERVICES)]}}}
        more["transports"] = {"it": {"driver": self.driver, "hosts": [self.broker.address]}}
        self._daemon = Direct(self.directory, services, default_transport="it", **more)
        self._daemon.start()

    def end(self) -> None:
        """Stop it."""
        self._daemon.stop()
        self._daemon.close()

    def family(self) -> list[Process]:
        """Return supervisor, relay, forkserver and workers."""
        assert self._daemon.process
        supervisor = Process(self._daemon.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def go(self) -> list[str | Path]:
        """Return zocaloctl."""
        return [daemonkit.COMMANDS / "zocaloctl", "--socket", self._daemon.socket, "go", "-r", "any", "1"]


class Theirs(Side):
    """A zocalo.service for each: two processes."""

    def __init__(self, broker: Any, driver: str) -> None:
        super().__init__(broker, driver)
        name, kind = ("PikaTransport", "rabbit") if driver == "rabbitmq" else ("StompTransport", "stomp")
        options = {"host": "127.0.0.1", "port": str(broker.port), "user": "guest", "pass": "guest"}
        self._transport = ["-t", name]
        for key, value in options.items():
            self._transport += (f"--{kind}-{key}", value)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, classes: Sequence[str]) -> None:
        """Start all of them."""
        self._processes = []
        # What a package would bring with it: the entry points by which zocalo.service finds services.
        info = self.directory / "compare_services-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: compare_services\nVersion: 1\n")
        lines = [f"{one} = {MODULE}:{one}\n" for one in classes]
        (info / "entry_points.txt").write_text("[workflows.services]\n" + "".join(lines))
        environment = {**os.environ, "PYTHONPATH": f"{self.directory}:{SERVICES}"}
        for one in classes:
            command: list[str | Path] = [peers.binaries() / "zocalo.service", "-s", one, *self._transport]
            with (self.directory / f"{one}.log").open("wb") as log:
                self._processes.append(
                    subprocess.Popen(
                        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                    )
                )

    def end(self) -> None:
        """Kill all: SIGTERM would leave the services behind."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for one in self._processes:
            one.wait()

    def family(self) -> list[Process]:
        """Return frontends and services."""
        parents = [Process(process.pid) for process in self._processes]
        return [*parents, *(child for parent in parents for child in parent.children())]

    def go(self) -> list[str | Path]:
        """Return zocalo.go."""
        return [peers.binaries() / "zocalo.go", *self._transport, "-r", "any", "1"]


SIDES: tuple[type[Side], ...] = (Ours, Theirs)
