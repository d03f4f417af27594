"""What the trail costs: processor time of worker and relay for a message of a recipe, with it and without.

    python -m benchmarks.trail [--rounds 60] [--messages 2000]

A service receives, sends on by its recipe, and acknowledges; messages of 1 kB go round for ever. The trail is
turned on and off by turns on the worker's page, which is all that a reload does about it, so that both are
measured in the same processes. Prints microseconds for a message, and the median of the ratios of rounds that
follow each other. On a machine that does something else as well, that moves by some percent; so what the
trail takes by itself is printed, too, as a share, and decides: exit status 1 if that is over the target.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.kit import SERVICES
from tests.daemonkit import Daemon
from zocalo_daemon.protocol import board, tally, trail
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.worker.trail import Trail, write
from zocalo_daemon.worker.transport import RelayTransport

MESSAGES = 50  # that go round
TARGET = 1.02
RECIPE = {
    "1": {"queue": "step", "output": 1, "parameters": {"threshold": 3, "beamline": "i03"}},
    "start": [[1, []]],
}


class Bench:
    """A daemon with one service, whose messages go round."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.daemon = Daemon(
            directory,
            {"step": {"class": "bench_services:Step"}},
            runtimes={"default": {"python_path": [str(SERVICES)]}},
            relay={"clients": "user"},
            metrics={"listen": f"127.0.0.1:{self._port}"},
        ).start()
        status = self.daemon.status()
        self._pids = [status["daemon"]["relay"]["pid"], status["services"][0]["instances"][0]["pid"]]
        assert self.daemon.process
        descriptors = Path(f"/proc/{self.daemon.process.pid}/fd")
        self._board = next(one for one in descriptors.iterdir() if board.FILE in str(one.readlink()))
        transport = RelayTransport.for_worker(directory / "relay.sock", "")
        transport.connect()
        for _ in range(MESSAGES):
            about = {"recipe": RECIPE, "recipe-pointer": 1, "recipe-path": []}
            envelope = {"payload": "x" * 1000, **about, "environment": {"ID": str(uuid.uuid4())}}
            transport.send("step", envelope, headers={"workflows-recipe": "True"})
        transport.disconnect()

    def cost(self, part: int, messages: int) -> float:
        """Return microseconds for a message while files of the trail may have `part` bytes (0: none)."""
        descriptor = os.open(self._board, os.O_RDWR)
        place = (
            tally.FILE_SIZE + trail.PAGE + trail.PART * trail.WORD
        )  # of the first worker, which has entry 1
        os.pwrite(descriptor, part.to_bytes(trail.WORD, sys.byteorder), place)
        os.close(descriptor)
        spent, handled = self._spent(), self._handled()
        while (done := self._handled() - handled) < messages:
            time.sleep(0.02)
        return (self._spent() - spent) / done / 1000

    def _spent(self) -> int:
        """Return nanoseconds that relay and worker have been on a processor (proc(5), schedstat)."""
        threads = [path for pid in self._pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(path.read_text().split()[0]) for path in threads)

    def _handled(self) -> int:
        # From the board, to the message: what the relay has counted is told twice a second only.
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            int(float(line.split()[-1]))
            for line in lines
            if line.startswith("workflows_transport_ack_total{")
        )


def own_cost(directory: str, messages: int = 20_000) -> float:
    """Return microseconds that the trail takes for a message, by itself: the best of some rounds."""
    noting = Trail(memoryview(bytearray(trail.PAGE)), "step/0", partial(write, directory), 4 << 20)
    about = {"recipe": {1: RECIPE["1"]}, "recipe-pointer": 1, "environment": {"ID": str(uuid.uuid4())}}

    def once() -> float:
        began = time.process_time_ns()
        for number in range(1, messages):
            run = noting.begin(about, "step", number)
            assert run is not None
            noting.sent(about, run)
            noting.settled(protocol.ACK, number, None)
            noting.end(run)
        return (time.process_time_ns() - began) / messages / 1000

    return min(once() for _ in range(20))


def main() -> None:
    """Measure by turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--messages", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zocalo-bench-") as directory:
        own = own_cost(directory)
        bench = Bench(Path(directory))
        try:
            costs = [
                bench.cost(part, given.messages) for _ in range(given.rounds + 2) for part in (4 << 20, 0)
            ]
        finally:
            bench.daemon.stop()
            bench.daemon.close()
    sys.exit(_tell(own, costs[4:]))  # the first ones warm up


def _tell(own: float, costs: Sequence[float]) -> int:
    with_it, without = costs[::2], costs[1::2]
    ratio = statistics.median(one / other for one, other in zip(with_it, without, strict=True))
    whole = statistics.median(without)
    print(
        f"by turns: with the trail {statistics.median(with_it):.1f} µs, without {whole:.1f} µs: {ratio:.4f}"
    )
    print(f"by itself: {own:.2f} µs of {whole:.1f} µs: {1 + own / whole:.4f}, target {TARGET}")
    return int(1 + own / whole > TARGET)


if __name__ == "__main__":
    main()
