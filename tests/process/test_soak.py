"""Nothing is lost: 20,000 messages through three services while every process is killed at random."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.controlkit import Direct
from tests.waiting import wait_until
from zocalo_daemon.protocol import control
from zocalo_daemon.worker.transport import RelayTransport

MESSAGES = 20_000
BATCH = 100  # messages per transaction of the one who submits
KILLS = ["worker"] * 27 + ["relay"] * 9 + ["forkserver"] * 6 + ["supervisor"] * 6
RESTART = {"backoff": "10ms", "max_backoff": "50ms", "limit": 1000}
STAGES = ("first", "second", "third")
SLACK = 1.0  # seconds: a message is noted when it is taken up, and settled later


@dataclass(frozen=True)
class Kill:
    """What was killed, and when: seconds since the epoch, as services note them."""

    what: str
    pid: int
    time: float


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


def arrivals(file: Path) -> dict[int, list[tuple[float, int]]]:
    """Return the times at which each number came to a stage, with the pid of the worker."""
    found = defaultdict(list)
    for line in file.read_text().splitlines() if file.exists() else []:
        number, when, pid = line.split()
        found[int(number)].append((float(when), int(pid)))
    return found


def victims(daemon: Direct, what: str) -> list[int]:
    """Return the pids of processes of a kind, as far as they are there now."""
    about = daemon.status()
    if what == "worker":
        return [i["pid"] for s in about["services"] for i in s["instances"] if i["pid"]]
    if what == "forkserver":
        return [server["pid"] for server in about["daemon"]["forkservers"] if server["state"] == "ready"]
    return [about["daemon"][what]["pid"]] if about["daemon"][what]["state"] == "ready" else []


def kill(daemon: Direct, what: str, chance: random.Random) -> Kill:
    """SIGKILL a process of a kind, once there is one; a supervisor is started again as systemd would."""
    if what == "supervisor":
        done = Kill(what, daemon.process.pid, time.time())
        daemon.process.kill()
        daemon.process.wait()
        daemon.start(ready=False)
        wait_until(daemon.answers)
        return done
    pid = chance.choice(wait_until(lambda: victims(daemon, what), f"a {what} to kill"))
    done = Kill(what, pid, time.time())
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has died with something else
        return kill(daemon, what, chance)
    return done


def is_empty(daemon: Direct) -> bool:
    """Whether each message of each queue was acknowledged, and not merely seen."""
    queues = {
        queue["name"]: queue["ready"] + queue["unsettled"] for queue in daemon.ask("queues", patterns=["*"])
    }
    return queues == {"one": 0, "two": 0, "three": 0}


def is_excused(earlier: tuple[float, int], later: tuple[float, int], kills: list[Kill]) -> bool:
    """Whether something died between two deliveries of a message that had the first of them in hand."""
    (begin, pid), (end, _) = earlier, later
    return any(
        begin - SLACK < one.time < end and (one.pid == pid or one.what in ("relay", "supervisor", "reexec"))
        for one in kills
    )


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
        sender.join(120)
        assert not sender.is_alive()
        wait_until(
            lambda: len(arrivals(tmp_path / "third")) == MESSAGES, "all results", timeout=200, every=0.5
        )
        wait_until(lambda: is_empty(d), "empty queues", 60, every=0.2)
        assert d.stop() == 0
    finally:
        d.close()

    assert set(arrivals(tmp_path / "third")) == set(range(MESSAGES))
    doubled: set[int] = set()
    total = 0
    for name in STAGES:
        for number, times in arrivals(tmp_path / name).items():
            total += len(times) - 1
            for earlier, later in itertools.pairwise(times):
                # A message comes again only because something died that had it in hand, here or before.
                assert number in doubled or is_excused(earlier, later, kills), (name, number, times)
            if len(times) > 1:
                doubled.add(number)
    print(f"{total} duplicates after {len(kills)} kills")
    assert total < 3 * MESSAGES * 0.05
