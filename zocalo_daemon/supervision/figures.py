"""What each process costs and does, for `status`.

Costs are read with psutil when somebody asks, for at most a given time per request: the proportional set size
of one forked worker takes the kernel about a millisecond, and 500 of them must not hold up the loop. What the
budget does not reach keeps its older figure. What workers have processed comes from the relay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from zocalo_daemon.values import Record, field

if TYPE_CHECKING:
    import psutil

RSS_AGE = 1.0  # seconds after which a figure is read again
PSS_AGE = 15.0
_ADDED = {"connections", "subscriptions", "unsettled", "spooled", "spooled_bytes"}


class Cost(Record):
    """Figures of one process: bytes and seconds, and when they were read."""

    rss_bytes: int = 0
    pss_bytes: int = 0
    cpu_s: float = 0.0
    rss_at: float = float("-inf")
    pss_at: float = float("-inf")


class Work(Record):
    """What one worker has done.

    Args:
        before: what it did under relays that have ended.
        told: (processed, in flight) by the index of each relay that has told of it.
    """

    before: int = 0
    told: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def processed(self) -> int:
        """How many messages it has settled."""
        return self.before + sum(processed for processed, _ in self.told.values())

    @property
    def in_flight(self) -> int:
        """How many it has in hand."""
        return sum(in_flight for _, in_flight in self.told.values())


class Figures:
    """Figures by pid; `clock` is monotonic, in seconds."""

    CARRIED = ("_costs", "_work", "_told", "totals", "ended")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._processes: dict[int, psutil.Process] = {}
        self._costs: dict[int, Cost] = {}
        self._work: dict[int, Work] = {}
        self._told: dict[int, list[dict[str, Any]]] = {}  # of transports, by relay
        self.totals: dict[str, list[int]] = {}  # by service: the tallies of its workers that have ended,
        self.ended: dict[str, int] = {}  # and how many these are

    @property
    def transports(self) -> list[dict[str, Any]]:
        """What the relays have told of their transports."""
        found: dict[str, list[dict[str, Any]]] = {}
        for index in sorted(self._told):
            for one in self._told[index]:
                found.setdefault(one["name"], []).append(one)
        return [_sum(parts) for parts in found.values()]

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

    def worker_ended(self, pid: int, service: str, tally: Iterable[int]) -> None:
        """A worker has ended: what it has counted is its service's."""
        self.forget(pid)
        known = self.totals.get(service)
        self.totals[service] = [a + b for a, b in zip(known, tally, strict=True)] if known else list(tally)
        self.ended[service] = self.ended.get(service, 0) + 1

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
        self, workers: Mapping[Any, Mapping[str, int]], transports: list[dict[str, Any]], index: int = 0
    ) -> None:
        """Take over a report of a relay."""
        self._told[index] = transports
        for pid, figures in workers.items():
            work = self._work.get(int(pid))
            if work is None:  # a script's, or a worker that has ended meanwhile
                continue
            work.told[index] = figures.get("processed", 0), figures.get("in_flight", 0)

    def relay_ended(self, index: int = 0) -> None:
        """The next relay counts from zero."""
        for work in self._work.values():
            work.before += work.told.pop(index, (0, 0))[0]
        now = {"state": "stopped", "unsettled": 0, "since": None, "next_attempt": None}
        self._told[index] = [{**transport, **now} for transport in self._told.get(index, ())]

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


def _sum(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what several relays tell of a transport as one: the state of one that is not connected."""
    if len(parts) == 1:
        return parts[0]
    whole = dict(next((one for one in parts if one.get("state") != "connected"), parts[0]))
    for key in _ADDED & whole.keys():
        whole[key] = sum(one.get(key, 0) for one in parts)
    oldest = [one["spooled_since"] for one in parts if one.get("spooled_since") is not None]
    return whole | {"spooled_since": min(oldest, default=None)}
