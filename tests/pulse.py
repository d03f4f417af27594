"""A daemon with a healthy service, which must not notice what the others beside it do."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.controlkit import Control, Direct, Refused
from tests.waiting import wait_until

EVERY = 0.02  # seconds between two messages
GAP = 3.0  # seconds: what a machine that does something else besides may hold up; a stand-still is longer


class Host(Direct):
    """A daemon whose service `healthy` handles what a Pulse sends."""

    def __init__(self, directory: Path, services: dict[str, Any], **more: Any) -> None:
        directory.mkdir(exist_ok=True)
        self.pulses = directory / "pulses"
        healthy = {"class": "misbehaving:Pulse", "environment": {"file": str(self.pulses)}}
        super().__init__(directory, {**services, "healthy": healthy}, **more)

    def beats(self) -> list[tuple[int, float, int]]:
        """Return number, time (monotonic) and pid of each message that the healthy service has handled."""
        lines = self.pulses.read_text().splitlines() if self.pulses.exists() else []
        return [(int(n), float(when), int(pid)) for n, when, pid in (line.split() for line in lines)]

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[Pulse]:
        """Within this, the healthy service gets its messages and handles each of them, once and at once."""
        before, began, count = self.instance("healthy/0"), time.monotonic(), len(self.beats())
        with Pulse(self, count) as pulse:
            yield pulse
            wait_until(lambda: pulse.next >= count + 10, "the control socket")
        wait_until(lambda: len(self.beats()) >= pulse.next, "every message of the healthy service")
        new = self.beats()[count:]
        assert [number for number, _, _ in new] == list(range(count, pulse.next))
        assert {pid for _, _, pid in new} == {before["pid"]}
        times = [began, *(when for _, when, _ in new)]
        assert max(b - a for a, b in itertools.pairwise(times)) < GAP
        after = self.instance("healthy/0")
        for key in ("pid", "restarts", "last_exit"):
            assert after[key] == before[key]
        assert after["state"] == "ready"


@contextlib.contextmanager
def hosting(directory: Path, services: dict[str, Any], **more: Any) -> Iterator[Host]:
    """A Host that runs with the given services, and is ended whatever happens."""
    host = Host(directory, services, **more)
    try:
        host.start()
        yield host
    finally:
        host.close()


def obedient(directory: Path, **more: Any) -> dict[str, Any]:
    """Return the configuration of a service that does what its messages say."""
    return {"class": "misbehaving:Obedient", "environment": {"directory": str(directory)}, **more}


class Pulse:
    """Sends a number to the healthy service every 20 ms, over the control socket, from a thread."""

    def __init__(self, host: Host, first: int) -> None:
        self.next = first
        self.answers: list[float] = []  # seconds that the daemon took for each
        self._control = Control(host.socket)
        self._stop = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._control.close()
        if self._problem:
            raise self._problem

    def _run(self) -> None:
        try:
            while not self._stop.wait(EVERY):
                began = time.monotonic()
                self._control.ask("send", queue="pulse", body=str(self.next).encode())
                self.answers.append(time.monotonic() - began)
                self.next += 1
        except (OSError, Refused) as e:
            self._problem = e
