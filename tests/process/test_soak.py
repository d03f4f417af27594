"""Nothing is lost: 20,000 messages through three services while workers and relay are killed at random."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

MESSAGES = 20_000
KILLS = 40
BATCH = 100  # messages per transaction of the one who submits
RESTART = {"backoff": "10ms", "max_backoff": "50ms", "limit": 1000}


def stages(directory: Path) -> dict[str, dict]:
    queues = [("first", "one", "two"), ("second", "two", "three"), ("third", "three", None)]
    return {
        name: {
            "class": "trial:Stage",
            "instances": 2,
            "restart": RESTART,
            "environment": {
                "source": source,
                "file": str(directory / name),
                "transaction": name == "second",
                **({"target": target} if target else {}),
            },
        }
        for name, source, target in queues
    }


def submit(socket: Path) -> None:
    """Send every number once, in transactions that the death of the relay must neither lose nor double."""
    transport = RelayTransport.for_worker(str(socket), "", "")
    transport.connect()
    for first in range(0, MESSAGES, BATCH):
        transaction = transport.transaction_begin()
        for number in range(first, first + BATCH):
            transport.send("one", number, transaction=transaction)
        transport.transaction_commit(transaction)
    transport.disconnect()


def arrivals(file: Path) -> dict[int, list[float]]:
    """Return the times at which each number came to a stage."""
    times = defaultdict(list)
    for line in file.read_text().splitlines() if file.exists() else []:
        number, when, _pid = line.split()
        times[int(number)].append(float(when))
    return times


def kill_something(daemon: Daemon, chance: random.Random) -> bool:
    """SIGKILL the relay (one time in four) or a worker; return whether something was there to kill."""
    document = daemon.status()
    workers = [i["pid"] for s in document["services"] for i in s["instances"] if i["pid"]]
    relay = document["daemon"]["relay"]["pid"]
    pid = relay if relay and chance.random() < 0.25 else chance.choice([*workers, None])
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.timeout(300)
def test_random_kills_lose_nothing(daemon, tmp_path):
    chance = random.Random(20261122)
    d = daemon(stages(tmp_path), relay={"clients": "user"}).start()
    sender = threading.Thread(target=submit, args=(d.directory / "relay.sock",))
    sender.start()
    kills: list[float] = []
    while len(kills) < KILLS:
        before = time.time()
        if kill_something(d, chance):
            kills.append(before)
        time.sleep(chance.uniform(0.05, 0.3))
    sender.join(120)
    assert not sender.is_alive()
    wait_until(lambda: len(arrivals(tmp_path / "third")) == MESSAGES, "all results", timeout=200, every=0.5)
    # Acknowledged, and not merely seen: the queues are empty.
    wait_until(
        lambda: all(q["ready"] + q["unsettled"] == 0 for q in queues(d)), "empty queues", 60, every=0.2
    )

    assert set(arrivals(tmp_path / "third")) == set(range(MESSAGES))
    total = 0
    for name in ("first", "second", "third"):
        for number, times in arrivals(tmp_path / name).items():
            total += len(times) - 1
            for earlier, later in itertools.pairwise(times):
                # A message comes again only because something died that had it in hand, here or before.
                assert any(earlier - 30 < kill < later for kill in kills), (name, number, times)
    print(f"{total} duplicates after {len(kills)} kills")
    assert total < 3 * MESSAGES * 0.05
    assert d.stop() == 0


def queues(daemon: Daemon) -> list[dict]:

    return json.loads(daemon.ctl("--json", "queues").stdout)
