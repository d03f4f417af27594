"""When a worker that ended is replaced."""

from __future__ import annotations

import pytest

from zocalo_daemon.config.schema import POLICIES, RestartConfig
from zocalo_daemon.supervision.restart import (
    BURST,
    RATE,
    Allowance,
    Kind,
    Verdict,
    backoff,
    decide,
    recent_deaths,
    words,
)

CONFIG = RestartConfig(backoff=1, max_backoff=10, limit=4, window=100)


def verdict(*deaths, clean=False, was_ready=True, chance=0.0, config=CONFIG):
    return decide(config, deaths, clean=clean, was_ready=was_ready, now=deaths[-1], chance=chance)


def test_the_first_death_of_a_ready_worker_is_answered_at_once():
    assert verdict(50.0) == Verdict(Kind.AT_ONCE)
    assert verdict(50.0, clean=True) == Verdict(Kind.AT_ONCE)


def test_the_delays_double():
    deaths = [float(n) for n in range(1, 5)]
    assert [verdict(*deaths[:n]).delay for n in (2, 3, 4)] == [0.5, 1.0, 2.0]


def test_a_worker_that_was_never_ready_waits_from_the_first_death_on():
    deaths = [float(n) for n in range(1, 5)]
    assert [verdict(*deaths[:n], was_ready=False).delay for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]


def test_the_limit():
    assert verdict(1, 2, 3, 4).kind is Kind.LATER
    assert verdict(1, 2, 3, 4, 5).kind is Kind.GIVE_UP


def test_only_deaths_within_the_window_count():
    assert verdict(0, 1, 2, 3, 100.5).kind is Kind.LATER
    assert verdict(0, 1, 2, 3, 100).kind is Kind.GIVE_UP
    assert verdict(0, 1, 2, 3, 200).kind is Kind.AT_ONCE
    assert recent_deaths(CONFIG, [0, 1, 2], 101) == 2


@pytest.mark.parametrize(
    ("policy", "clean", "kind"),
    [
        ("always", True, Kind.AT_ONCE),
        ("always", False, Kind.AT_ONCE),
        ("on-failure", True, Kind.REST),
        ("on-failure", False, Kind.AT_ONCE),
        ("never", True, Kind.REST),
        ("never", False, Kind.REST),
    ],
)
def test_policy(policy, clean, kind):
    assert verdict(1, clean=clean, config=RestartConfig(policy)).kind is kind


def test_jitter_takes_up_to_half_of_the_delay():
    assert backoff(CONFIG, 0, 0.0) == 0.5
    assert backoff(CONFIG, 0, 0.5) == 0.75
    assert backoff(CONFIG, 0, 0.999) == pytest.approx(1, abs=0.001)


def test_the_delay_is_capped_however_many_deaths():
    assert backoff(CONFIG, 4, 0.0) == 5
    assert backoff(CONFIG, 100_000, 0.0) == 5


# -- The limit for all


def test_many_may_start_at_once():
    allowance = Allowance()
    assert [allowance.take(1000.0, 0.5) for _ in range(BURST)] == [0.0] * BURST


def test_those_beyond_come_one_after_the_other():
    allowance = Allowance()
    waits = [allowance.take(1000.0, 0.5) for _ in range(BURST + 64)][BURST:]
    assert waits == [(number + 0.5) / RATE for number in range(1, 65)]


def test_the_allowance_comes_back():
    allowance = Allowance()
    for _ in range(BURST):
        allowance.take(1000.0, 0.0)
    assert allowance.take(1001.0, 0.0) == 0.0
    assert sum(not allowance.take(1001.0, 0.0) for _ in range(100)) == RATE - 1
    assert sum(not allowance.take(10**9, 0.0) for _ in range(1000)) == BURST


def test_only_what_starts_at_once_is_limited_now():
    allowance = Allowance(left=0, at=1000.0)
    assert allowance.limit(Verdict(Kind.LATER, 5.0), 1000.0, 0.0) == Verdict(Kind.LATER, 5.0)
    assert allowance.limit(Verdict(Kind.REST), 1000.0, 0.0) == Verdict(Kind.REST)
    limited = allowance.limit(Verdict(Kind.AT_ONCE), 1000.0, 0.0)
    assert limited == Verdict(Kind.LATER, 1 / RATE, limited=True)
    assert words(CONFIG, limited) == "another is started in 0.0 s, as restarts are limited to 32 a second"


def test_a_worker_that_the_machine_refuses_is_tried_again_for_ever():
    for policy in POLICIES:
        config = RestartConfig(policy=policy, limit=1)
        deaths = [1.0] * 50
        verdict = decide(config, deaths, clean=False, was_ready=False, now=1.0, chance=0.5, refused=True)
        assert verdict == Verdict(Kind.LATER, 7.5)
