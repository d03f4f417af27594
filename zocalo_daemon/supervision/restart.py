"""When a worker that ended is replaced.

The first death of a worker that had been ready is answered at once. From the second death within the window
on, and for a worker that never became ready, the delay doubles from `backoff` to `max_backoff`. More than
`limit` deaths within the window, and the instance is left alone until an operator asks.

For instances, the window is one of running: the time that they spend waiting in backoff does not pass on its
clock. Otherwise the delays themselves would keep the deaths apart, and a worker that dies at once would
never reach the limit: with the defaults, the eleventh death comes later than the window after the first.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from zocalo_daemon.config.schema import RestartConfig


class Kind(enum.Enum):
    """What to do about a death."""

    AT_ONCE = enum.auto()
    LATER = enum.auto()
    REST = enum.auto()  # the policy does not want it back
    GIVE_UP = enum.auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision; `delay` in seconds counts for LATER only."""

    kind: Kind
    delay: float = 0.0


def decide(
    config: RestartConfig,
    deaths: Sequence[float],
    *,
    clean: bool,
    was_ready: bool,
    now: float,
    chance: float,
) -> Verdict:
    """Return what to do about a worker that has just ended.

    Args:
        deaths: times of the deaths of this instance in seconds, in order, the present one included.
        clean: it ended by itself with exit status 0.
        was_ready: it had become ready.
        now: the present time, on the clock of `deaths`.
        chance: a random number in [0, 1), for the jitter that keeps workers from returning as a herd.
    """
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
