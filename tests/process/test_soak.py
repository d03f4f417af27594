"""Nothing is lost: 20,000 messages through three services while every process is killed at random."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from tests.controlkit import Direct
from tests.soakkit import Kill, check_arrivals, end, kill, stages
from tests.waiting import wait_until
from zocalo_daemon.protocol import control
from zocalo_daemon.worker.transport import RelayTransport

MESSAGES = 20_000
BATCH = 100  # messages per transaction of the one who submits
KILLS = ["worker"] * 27 + ["relay"] * 9 + ["forkserver"] * 6 + ["supervisor"] * 6


def submit(socket: Path, kills: list[Kill]) -> None:
    """Send every number once, in transactions that no death may lose or double, while there are kills."""
    transport = RelayTransport.for_worker(str(socket), "", "")
    transport.connect()
    for first in range(0, MESSAGES, BATCH):
        wait_until(lambda first=first: first / MESSAGES < (len(kills) + 2) / len(KILLS), timeout=100)
        transaction = transport.transaction_begin()
        for number in range(first, first + BATCH):
            transport.send("one", number, transaction=transaction)
        transport.transaction_commit(transaction)
    transport.disconnect()


@pytest.mark.timeout(300)
def test_random_kills_lose_nothing(tmp_path):
    chance = random.Random(20261122)
    d = Direct(tmp_path, stages(tmp_path), relay={"clients": "user"}).start()
    kills: list[Kill] = []
    sender = threading.Thread(target=submit, args=(d.directory / "relay.sock", kills))
    try:
        sender.start()
        plan = chance.sample(KILLS, len(KILLS))
        for number, what in enumerate(plan):
            if number == len(plan) // 2 and "reexec" in control.OPERATIONS:
                kills.append(Kill("reexec", d.process.pid, time.time()))
                d.ctl("reexec")
            kills.append(kill(d, what, chance))
            time.sleep(chance.uniform(0.05, 0.25))
        end(d, sender, tmp_path, MESSAGES)
    finally:
        d.close()

    total = check_arrivals(tmp_path, MESSAGES, kills)
    print(f"{total} duplicates after {len(kills)} kills")
    assert total < 3 * MESSAGES * 0.05
