"""Soaks: three services in a row, processes that are killed at random, and what must have come through."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.controlkit import Direct
from tests.waiting import wait_until

RESTART = {"backoff": "10ms", "max_backoff": "50ms", "limit": 1000}
STAGES = ("first", "second", "third")
QUEUES = ("one", "two", "three")
SLACK = 1.0  # seconds: a message is noted when it is taken up, and settled later
FOR_ALL = ("relay", "supervisor", "reexec", "broker")  # what every delivery in hand depends on


@dataclass(frozen=True)
class Kill:
    """What was killed, and when: seconds since the epoch, as services note them.

    A broker is away from `time` to `until`: what is begun meanwhile cannot be settled either.
    """

    what: str
    pid: int
    time: float
    until: float = 0.0


def stages(directory: Path) -> dict[str, dict]:
    """Return the configuration of the services: each takes from one queue, the second in a transaction."""
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
    """Whether each message of each queue was acknowledged, and not merely seen, and none is a dead letter."""
    left = {
        queue["name"]: queue["ready"] + queue["unsettled"] for queue in daemon.ask("queues", patterns=["*"])
    }
    return set(left) >= set(QUEUES) and not any(left.values())


def end(daemon: Direct, sender: threading.Thread, directory: Path, count: int) -> None:
    """Wait until `sender` has sent all, and all of these messages are done; stop the daemon."""
    sender.join(120)
    assert not sender.is_alive()
    wait_until(lambda: len(arrivals(directory / "third")) == count, "all results", timeout=200, every=0.5)
    wait_until(lambda: is_empty(daemon), "empty queues", 60, every=0.2)
    assert daemon.stop() == 0


def is_excused(earlier: tuple[float, int], later: tuple[float, int], kills: Collection[Kill]) -> bool:
    """Whether something died between two deliveries of a message that had the first of them in hand."""
    (begin, pid), (end, _) = earlier, later
    return any(
        begin - SLACK < max(one.time, one.until)
        and one.time < end
        and (one.pid == pid or one.what in FOR_ALL)
        for one in kills
    )


def check_arrivals(
    directory: Path, messages: int, kills: Collection[Kill], sent_again: Collection[int] = ()
) -> int:
    """Check that every number has come through, and twice only for a reason; return how often twice."""
    assert set(arrivals(directory / "third")) == set(range(messages))
    doubled = set(sent_again)
    total = 0
    for name in STAGES:
        for number, times in arrivals(directory / name).items():
            total += len(times) - 1
            for earlier, later in itertools.pairwise(times):
                # A message comes again only because something died that had it in hand, here or before.
                assert number in doubled or is_excused(earlier, later, kills), (
                    name,
                    number,
                    times,
                    [one for one in kills if abs(one.time - later[0]) < 10 or one.pid == earlier[1]],
                )
            if len(times) > 1:
                doubled.add(number)
    return total
