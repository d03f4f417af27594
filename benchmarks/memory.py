"""Which process has the memory that an instance costs."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from benchmarks.figures import Row, sample
from benchmarks.kit import Daemon, pss

COUNT = 50
# MiB of each process, by what `ps` shows of it; a worker's is above all what it writes (worker/rehearsal.py).
MOST = {"relay": 16.0, "forkserver": 10.0, "worker": 3.2, "supervisor": 14.0}


def memory(directory: Path) -> list[Row]:
    """PSS by kind of process, at 50 instances of a service that has nothing to do.

    Pages of libraries count less while other interpreters of the same installation run on the machine.
    """
    with Daemon(directory, sample(COUNT)) as daemon:
        daemon.control().ask("start", targets=["all"], wait=True)
        time.sleep(3)
        kinds: dict[str, list[psutil.Process]] = {kind: [] for kind in MOST}
        for process in daemon.family():
            kinds[kind_of(process)].append(process)
        everything = pss([process for those in kinds.values() for process in those])
        return [
            Row("PSS of everything / instances, at 50", everything / COUNT, "MiB", 4.0),
            *(
                Row(f"PSS of a {kind}", pss(those) / len(those), "MiB", MOST[kind])
                for kind, those in kinds.items()
            ),
        ]


def kind_of(process: psutil.Process) -> str:
    """Return relay, forkserver, worker or supervisor."""
    title = " ".join(process.cmdline())
    return next((kind for kind in ("relay", "forkserver") if f": {kind}" in title), None) or (
        "worker" if title.startswith("zocalod: ") else "supervisor"
    )
