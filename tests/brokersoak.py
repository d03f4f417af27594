"""Nothing is lost: 20,000 messages on a real broker that dies and returns, as do relay and workers."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path

import workflows

from tests.brokers.activemq import ActiveServer
from tests.brokers.rabbit import RabbitServer
from tests.controlkit import Direct
from tests.soakkit import Kill, arrivals, check_arrivals, end, kill, stages
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

MESSAGES = 20_000
BATCH = 100  # messages per transaction of the one who submits
ROUNDS = 20  # each kills the broker once, the relay once and two workers


Server = RabbitServer | ActiveServer


def submit(socket: Path, rounds: list[int]) -> None:
    """Send every number, in transactions; one that could not be saved is sent again."""
    transport = RelayTransport.for_worker(str(socket), "", "")
    transport.connect()
    for first in range(0, MESSAGES, BATCH):
        wait_until(lambda first=first: first / MESSAGES < (len(rounds) + 1) / ROUNDS, timeout=200)
        while not _committed(transport, range(first, first + BATCH)):
            time.sleep(0.1)
    transport.disconnect()


def _committed(transport: RelayTransport, numbers: range) -> bool:
    with contextlib.suppress(workflows.Disconnected):
        transaction = transport.transaction_begin()
        for number in numbers:
            transport.send("one", number, transaction=transaction)
        transport.transaction_commit(transaction)
        return True
    return False


def sent_twice(directory: Path) -> list[range]:
    """Return the transactions that have come twice as a whole.

    Something died between the broker's confirmation and its being noted, by the sender or in the spool, where
    a transaction may have waited for minutes: so no kill is near.
    """
    times = arrivals(directory / "first")
    batches = [range(first, first + BATCH) for first in range(0, MESSAGES, BATCH)]
    return [batch for batch in batches if all(len(times[number]) > 1 for number in batch)]


def is_connected(daemon: Direct) -> bool:
    """Whether the relay has the broker back."""
    return [one["state"] for one in daemon.status()["transports"]] == ["connected"]


def soak(broker: Server, tmp_path: Path) -> None:
    """Kill broker, relay and workers while messages go through; check that none is missing."""
    chance = random.Random(20261122)
    settings = broker.settings()
    keys = ("driver", "hosts", "username", "password")
    transports = {"default": {key: settings[key] for key in keys if key in settings}}
    d = Direct(tmp_path, stages(tmp_path), relay={"clients": "user"}, transports=transports).start()
    kills: list[Kill] = []
    rounds: list[int] = []
    sender = threading.Thread(target=submit, args=(d.directory / "relay.sock", rounds))
    try:
        sender.start()
        for number in range(ROUNDS):
            time.sleep(chance.uniform(0.2, 0.6))  # some work between the deaths
            away = time.time()
            broker.kill()
            broker.start(wait=False)
            for what in chance.sample(["relay", "worker", "worker"], 3):
                kills.append(kill(d, what, chance))
                time.sleep(chance.uniform(0.05, 0.25))
            wait_until(lambda: is_connected(d), "the broker", timeout=60, every=0.1)
            kills.append(Kill("broker", 0, away, time.time()))
            rounds.append(number)
        end(d, sender, tmp_path, MESSAGES)
    finally:
        d.close()
    doubled = sent_twice(tmp_path)
    assert len(doubled) <= len(kills)
    total = check_arrivals(tmp_path, MESSAGES, kills, {number for batch in doubled for number in batch})
    print(f"{total} duplicates after {len(kills)} kills")
