"""How many messages a second one worker consumes, sends on and acknowledges, with default settings.

The service is an unmodified CommonService in a process of its own, with the pipes and the transport that
zocalod gives it; the relay is a real one. Every message is confirmed by the broker before its delivery is
settled. Prints one line; --profile worker shows where the service's thread spends its time.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from workflows.services.common_service import CommonService

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.board import Notes, scrap
from zocalo_daemon.worker.pipes import Commands, Frontend
from zocalo_daemon.worker.transport import RelayTransport

PORTION = 500  # messages in one transaction when the queue is filled


class Pipethrough(CommonService):
    """Consumes, sends on, acknowledges; says how long that took."""

    def initializing(self) -> None:
        """Subscribe as most services do: acknowledgement, no prefetch_count."""
        self.left = int(os.environ["BENCH_COUNT"])
        self.begun = 0.0
        prefetch = os.environ.get("BENCH_PREFETCH")
        options = {"prefetch_count": int(prefetch)} if prefetch else {}
        self._transport.subscribe("in", self.work, acknowledgement=True, **options)

    def work(self, header: dict[str, object], message: object) -> None:
        """Handle one message."""
        self.begun = self.begun or time.monotonic()
        self._transport.send("out", message)
        self._transport.ack(header)
        self.left -= 1
        if not self.left:
            self._shutdown()


def work(path: str) -> None:
    """Be the worker."""
    # The other end stays open: a worker ends itself when its supervisor is gone.
    channel, _supervisor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wake, _wake = os.pipe()
    # With notes, as a worker of the daemon.
    transport = RelayTransport.for_worker(path, "bench/0", notes=Notes(scrap(), 0))
    service = Pipethrough()
    service.connect(
        frontend=Frontend(channel, lambda: None),
        commands=Commands(channel, wake, transport.drain, limit=lambda _limits: None),
    )
    service.transport = transport
    profile = cProfile.Profile() if os.environ.get("BENCH_PROFILE") == "worker" else None
    if profile:
        profile.enable()
    service.start()
    elapsed = time.monotonic() - service.begun  # until everything is settled: stop_transport flushes
    if profile:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
    cpu = time.process_time()
    sys.stdout.write(json.dumps({"elapsed": elapsed, "cpu": cpu}))
    sys.stdout.flush()
    os._exit(0)


def fill(relay: RelayProcess, count: int, size: int) -> None:
    """Put messages into the queue."""
    transport = relay.transport()
    body = {"payload": "x" * (size - 16)}
    for first in range(0, count, PORTION):
        transaction = transport.transaction_begin()
        for _ in range(min(PORTION, count - first)):
            transport.send("in", body, transaction=transaction)
        transport.transaction_commit(transaction)
    transport.disconnect()


def run(args: argparse.Namespace) -> None:
    """Fill the queue, start the worker, print what it did."""
    environment = {**os.environ, "BENCH_COUNT": str(args.waiting)}
    if args.prefetch:
        environment["BENCH_PREFETCH"] = str(args.prefetch)
    if args.profile:
        environment["BENCH_PROFILE"] = args.profile
    with tempfile.TemporaryDirectory() as directory:
        relay = RelayProcess(Path(directory), args.driver)
        try:
            fill(relay, args.waiting, args.size)
            process = psutil.Process(relay.pid)
            before = process.cpu_times()
            command = [sys.executable, __file__, "--work", str(relay.path)]
            done = json.loads(
                subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
            )
            after = process.cpu_times()
            wait_until(lambda: relay.queue("out")["ready"] == args.waiting, "all of it was sent on")
            relay_cpu = after.user + after.system - before.user - before.system
            print(
                f"{args.driver}: {args.waiting / done['elapsed']:.0f} msg/s; CPU per message: worker "
                f"{done['cpu'] / args.waiting * 1e6:.0f} µs, relay {relay_cpu / args.waiting * 1e6:.0f} µs"
            )
        finally:
            relay.close()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--driver", default="embedded")
    parser.add_argument("--waiting", type=int, default=20_000, metavar="N", help="messages")
    parser.add_argument("--size", type=int, default=1000, help="bytes of a message")
    parser.add_argument("--prefetch", type=int, help="prefetch_count of the service; default: none given")
    parser.add_argument("--profile", choices=["worker"])
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work)
    else:
        run(args)


if __name__ == "__main__":
    main()
