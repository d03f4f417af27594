"""When a worker that ended is replaced.

The first death of a worker that had been ready is answered at once. From the second death within the window
on, and for a worker that never became ready, the delay doubles from `backoff` to `max_backoff`. More than
`limit` deaths within the window, and the instance is left alone until an operator asks.

For instances, the window is one of running: the time that they spend waiting in backoff does not pass on its
clock. Otherwise the delays themselves would keep the deaths apart, and a worker that dies at once would
never reach the limit: with the defaults, the eleventh death comes later than the window after the first.

Over all instances, restarts pass an `Allowance`: what kills workers over and over must not keep the machine
busy with starting them. First starts, and those that somebody asks for, do not.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from zocalo_daemon.config.schema import RestartConfig
from zocalo_daemon.values import Record, Value

# A common cause, such as memory that ran out, may kill all workers of a large server: they return at once,
# for a start takes some 3 ms of one core. If they go on dying, their starts take a tenth of that core.
BURST = 128
RATE = 32.0  # a second
REFUSED = 10.0  # seconds until a worker is tried again that the machine had no room for
LIMITED = f"restarts are limited to {RATE:g} a second"


class Kind(enum.Enum):
    """What to do about a death."""

    AT_ONCE = enum.auto()
    LATER = enum.auto()
    REST = enum.auto()  # the policy does not want it back
    GIVE_UP = enum.auto()


class Verdict(Value):
    """The decision; `delay` in seconds counts for LATER only, and is the limit's if that is the cause."""

    kind: Kind
    delay: float = 0.0
    limited: bool = False


class Allowance(Record):
    """How many restarts may come at once: a bucket of BURST that fills again with RATE.

    Args:
        left: those that may; negative if starts have been promised for later.
        at: when that was so, in monotonic seconds.
    """

    left: float = BURST
    at: float = 0.0

    def take(self, now: float, chance: float) -> float:
        """Return in how many seconds the next restart may come; it counts from now on.

        Args:
            chance: a random number in [0, 1): those that have to wait are not to start in step.
        """
        self.left = min(float(BURST), self.left + (now - self.at) * RATE) - 1
        self.at = now
        return 0.0 if self.left >= 0 else (chance - self.left) / RATE

    def limit(self, verdict: Verdict, now: float, chance: float) -> Verdict:
        """Return what becomes of a verdict; one for LATER has to ask when that has come."""
        if verdict.kind is Kind.AT_ONCE and (wait := self.take(now, chance)):
            return Verdict(Kind.LATER, wait, limited=True)
        return verdict


def decide(
    config: RestartConfig,
    deaths: Sequence[float],
    *,
    clean: bool,
    was_ready: bool,
    now: float,
    chance: float,
    refused: bool = False,
) -> Verdict:
    """Return what to do about a worker that has just ended.

    Args:
        deaths: times of the deaths of this instance in seconds, in order, the present one included.
        clean: it ended by itself with exit status 0.
        was_ready: it had become ready.
        now: the present time, on the clock of `deaths`.
        chance: a random number in [0, 1), for the jitter that keeps workers from returning as a herd.
        refused: there never was a worker, as the machine had no room for it: it is tried again for ever.
    """
    if refused:
        return Verdict(Kind.LATER, REFUSED * (0.5 + chance / 2))
    if config.policy == "never" or (config.policy == "on-failure" and clean):
        return Verdict(Kind.REST)
    recent = recent_deaths(config, deaths, now)
    if recent > config.limit:
        return Verdict(Kind.GIVE_UP)
    if recent <= 1 and was_ready:
        return Verdict(Kind.AT_ONCE)
    return Verdict(Kind.LATER, backoff(config, recent - 2 if was_ready else recent - 1, chance))


def recent_deaths(config: RestartConfig, deaths: Sequence[float], now: float) -> int:
    """Return how many of `deaths` lie within the window."""
    return sum(1 for death in deaths if now - death <= config.window)


def backoff(config: RestartConfig, doublings: int, chance: float) -> float:
    """Return the delay in seconds after so many doublings, at least half of the nominal one."""
    nominal = min(config.max_backoff, config.backoff * 2.0 ** min(doublings, 60))
    return nominal * (0.5 + chance / 2)


def too_many(config: RestartConfig, deaths: int) -> str:
    """Return why an instance is given up, for people."""
    return f"{deaths} death{'s' * (deaths > 1)} within {config.window:g} s of running"


def words(config: RestartConfig, verdict: Verdict) -> str:
    """Return what happens now, for people."""
    if verdict.kind is Kind.REST:
        return f"not replaced, as its restart policy is {config.policy}"
    if verdict.kind is Kind.AT_ONCE:
        return "another is started at once"
    return f"another is started in {verdict.delay:.1f} s" + (f", as {LIMITED}" if verdict.limited else "")
