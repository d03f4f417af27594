"""Whatever the configuration and however workers die: delays are bounded, and the limit is reached."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.rosterkit import CRASH, Script, service
from zocalo_daemon.config.schema import RestartConfig
from zocalo_daemon.supervision.restart import Kind, backoff, decide

bounded = settings(derandomize=True, deadline=None, max_examples=200)

seconds = st.floats(0.001, 1e6)
chances = st.floats(0, 1, exclude_max=True)
configs = st.builds(
    RestartConfig,
    policy=st.just("always"),
    backoff=seconds,
    max_backoff=seconds,
    limit=st.integers(0, 50),
    window=seconds,
)


@bounded
@given(configs, st.integers(0, 10**6), chances)
def test_delays_are_bounded_and_jitter_within_its_range(config, doublings, chance):
    delay = backoff(config, doublings, chance)
    assert 0 < delay <= config.max_backoff
    assert backoff(config, doublings, 0.0) <= delay <= 2 * backoff(config, doublings, 0.0)
    assert backoff(config, doublings, chance) <= backoff(config, doublings + 1, chance)


@bounded
@given(configs, st.lists(seconds, min_size=1).map(sorted), st.booleans(), st.booleans(), chances)
def test_every_death_has_one_answer(config, deaths, clean, was_ready, chance):
    now = deaths[-1]
    verdict = decide(config, deaths, clean=clean, was_ready=was_ready, now=now, chance=chance)
    recent = sum(now - death <= config.window for death in deaths)
    assert (verdict.kind is Kind.GIVE_UP) == (recent > config.limit)
    assert (verdict.kind is Kind.LATER) == (verdict.delay > 0)
    if verdict.kind is Kind.AT_ONCE:
        assert was_ready
        assert recent == 1


@bounded
@given(st.lists(seconds, min_size=1).map(sorted), st.booleans(), st.booleans())
def test_a_policy_that_lets_rest_never_starts_again(deaths, clean, was_ready):
    how = {"clean": clean, "was_ready": was_ready, "now": deaths[-1], "chance": 0.5}
    assert decide(RestartConfig("never"), deaths, **how).kind is Kind.REST
    assert (decide(RestartConfig("on-failure"), deaths, **how).kind is Kind.REST) == clean


@bounded
@given(configs, st.booleans(), st.floats(0, 1))
def test_workers_that_die_soon_reach_the_limit_whatever_the_delays(config, was_ready, share):
    """`share` of the window is what all lives together take, however long the waits between them."""
    assume(config.limit > 0)
    keys = {key: getattr(config, key) for key in ("backoff", "max_backoff", "limit", "window")}
    script = Script(service(start_timeout=1e9, **keys))
    for deaths in range(1, config.limit + 2):
        assert script.state() == "starting"
        serial = max(script.spawned)
        script.ready(serial) if was_ready else script.forked(serial)
        script.later(0.99 * share * config.window / (config.limit + 1))
        script.exited(serial, CRASH)
        if deaths <= config.limit and script.state() == "backoff":
            due = script.roster.next_deadline()
            assert due - script.now <= config.max_backoff * 1.000001
            script.later(due - script.now)
            if script.state() == "backoff":  # floating point
                script.later(1e-6 * config.max_backoff)
    assert script.state() == "failed"
    assert script.roster.next_deadline() is None
