"""What each process costs and does, for `status`.

Costs are read with psutil when somebody asks, for at most a given time per request: the proportional set size
of one forked worker takes the kernel about a millisecond, and 500 of them must not hold up the loop. What the
budget does not reach keeps its older figure. What workers have processed comes from the relay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from zocalo_daemon.values import Record

if TYPE_CHECKING:
    import psutil

RSS_AGE = 1.0  # seconds after which a figure is read again
PSS_AGE = 15.0


class Cost(Record):
    """Figures of one process: bytes and seconds, and when they were read."""

    rss_bytes: int = 0
    pss_bytes: int = 0
    cpu_s: float = 0.0
    rss_at: float = float("-inf")
    pss_at: float = float("-inf")


class Work(Record):
    """What one worker has done: `before` counts what it did under relays that have ended."""

    processed: int = 0
    in_flight: int = 0
    before: int = 0


class Figures:
    """Figures by pid; `clock` is monotonic, in seconds."""

    CARRIED = ("_costs", "_work", "transports")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._processes: dict[int, psutil.Process] = {}
        self._costs: dict[int, Cost] = {}
        self._work: dict[int, Work] = {}
        self.transports: list[dict[str, Any]] = []

    def cost(self, pid: int) -> Cost:
        """Return the latest cost of a process."""
        return self._costs.get(pid) or Cost()

    def work(self, pid: int) -> Work:
        """Return what a worker has done so far."""
        return self._work.get(pid) or Work()

    def watch(self, pid: int) -> None:
        """Keep what a worker does, from now on."""
        self._work[pid] = Work()

    def forget(self, pid: int) -> None:
        """A process has ended."""
        for table in (self._processes, self._costs, self._work):
            table.pop(pid, None)

    def read(self, pids: Iterable[int], budget: float) -> None:
        """Read the costs of these processes, the oldest figures first, for at most `budget` seconds."""
        end = self._clock() + budget
        costs = [(pid, self._costs.setdefault(pid, Cost())) for pid in pids]
        now = self._clock()
        for pid, cost in sorted(costs, key=lambda entry: entry[1].rss_at):
            if now - cost.rss_at < RSS_AGE or self._clock() > end:
                break
            self._read(pid, cost, self._read_cheap)
        for pid, cost in sorted(costs, key=lambda entry: entry[1].pss_at):
            if now - cost.pss_at < PSS_AGE or self._clock() > end:
                break
            self._read(pid, cost, self._read_pss)

    def relay_reports(
        self, workers: Mapping[Any, Mapping[str, int]], transports: list[dict[str, Any]]
    ) -> None:
        """Take over a report of the relay."""
        self.transports = transports
        for pid, figures in workers.items():
            work = self._work.get(int(pid))
            if work is None:  # a script's, or a worker that has ended meanwhile
                continue
            work.processed = work.before + figures.get("processed", 0)
            work.in_flight = figures.get("in_flight", 0)

    def relay_ended(self) -> None:
        """The next relay counts from zero."""
        for work in self._work.values():
            work.before, work.in_flight = work.processed, 0
        now = {"state": "stopped", "unsettled": 0, "since": None, "next_attempt": None}
        self.transports = [{**transport, **now} for transport in self.transports]

    def _read(self, pid: int, cost: Cost, how: Callable[[psutil.Process, Cost], None]) -> None:
        # Not before somebody asks: importing it takes 10 ms of the start and 0.8 MiB.
        import psutil  # noqa: PLC0415

        try:
            process = self._processes.get(pid) or self._processes.setdefault(pid, psutil.Process(pid))
            how(process, cost)
        except (psutil.Error, OSError):
            cost.rss_at = cost.pss_at = self._clock()  # it is ending; nothing to read

    def _read_cheap(self, process: psutil.Process, cost: Cost) -> None:
        cost.rss_bytes = process.memory_info().rss
        times = process.cpu_times()
        cost.cpu_s = round(times.user + times.system, 2)
        cost.rss_at = self._clock()

    def _read_pss(self, process: psutil.Process, cost: Cost) -> None:
        cost.pss_bytes = process.memory_full_info().pss
        cost.pss_at = self._clock()
