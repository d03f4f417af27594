"""What must hold for every (state, event) pair of the table."""

from __future__ import annotations

from itertools import product

import pytest

from zocalo_daemon.supervision.lifecycle import TABLE, Effect, Event, State, step

PAIRS = list(product(State, Event))
WITH_WORKER = (State.STARTING, State.READY, State.DRAINING)
WITHOUT = (State.BACKOFF, State.STOPPED, State.FAILED)
GONE = (
    Event.GONE_AT_ONCE,
    Event.GONE_LATER,
    Event.GONE_FOR_GOOD,
    Event.GONE_HOPELESSLY,
)
pairs = pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda value: value.name)


def test_the_table_has_every_pair_and_no_other():
    assert set(TABLE) == set(PAIRS)


@pairs
def test_a_worker_is_asked_for_exactly_when_there_is_none(state, event):
    after = step(state, event)
    has_worker = state in WITH_WORKER and event not in GONE
    if Effect.SPAWN in after.effects:
        assert not has_worker or event is Event.TURN
        assert after.state is State.STARTING
    elif after.state is State.STARTING:
        assert has_worker


@pairs
def test_only_a_worker_that_exists_is_drained_or_killed(state, event):
    after = step(state, event)
    if {Effect.DRAIN, Effect.KILL} & set(after.effects):
        assert state in WITH_WORKER
        assert event not in GONE


@pairs
def test_the_state_says_whether_there_is_a_worker(state, event):
    after = step(state, event)
    if state in WITH_WORKER and event not in GONE:
        assert after.state in WITH_WORKER
    elif event is not Event.LINGERS:
        assert after.state in WITHOUT or Effect.SPAWN in after.effects


@pairs
def test_the_deaths_are_forgotten_only_for_a_fresh_start(state, event):
    effects = step(state, event).effects
    if Effect.FORGET_DEATHS in effects:
        assert effects == (Effect.FORGET_DEATHS, Effect.SPAWN)


@pairs
def test_a_worker_is_asked_to_finish_only_once(state, event):
    after = step(state, event)
    if Effect.DRAIN in after.effects:
        assert (state, after.state) in [(s, State.DRAINING) for s in (State.STARTING, State.READY)]


@pytest.mark.parametrize("event", [Event.UP, Event.DOWN], ids=lambda event: event.name)
@pytest.mark.parametrize("state", State)
def test_to_ask_twice_changes_nothing_more(state, event):
    once = step(state, event).state
    assert step(once, event).state is once
    assert not step(once, event).effects


@pytest.mark.parametrize("state", State)
def test_up_leads_to_ready(state):
    after = step(state, Event.UP).state
    if after is State.DRAINING:
        after = step(after, Event.GONE_AT_ONCE).state
    assert step(after, Event.READY).state is State.READY


@pytest.mark.parametrize("state", State)
def test_down_leads_to_stopped(state):
    after = step(state, Event.DOWN).state
    if after is State.DRAINING:
        after = step(after, Event.GONE_FOR_GOOD).state
    assert after is State.STOPPED


@pytest.mark.parametrize("state", [state for state in State if state is not State.READY])
def test_renew_leads_to_a_new_worker(state):
    after = step(state, Event.RENEW)
    if after.state is State.DRAINING:
        after = step(after.state, Event.GONE_AT_ONCE)
    assert after.state is State.STARTING
    assert Effect.SPAWN in after.effects


@pytest.mark.parametrize("state", WITHOUT)
def test_words_about_a_worker_mean_nothing_without_one(state):
    for event in (*GONE, Event.READY, Event.TAKEN_OVER):
        assert step(state, event).state is state
        assert not step(state, event).effects


@pytest.mark.parametrize("state", [State.STARTING, State.DRAINING])
def test_a_worker_that_is_too_slow_is_killed(state):
    assert step(state, Event.DUE).effects == (Effect.KILL,)


def test_backoff_ends():
    assert step(State.BACKOFF, Event.DUE).state is State.STARTING


@pytest.mark.parametrize("state", State)
def test_only_what_is_to_start_has_its_turn(state):
    after = step(state, Event.TURN)
    assert after.state is state
    assert after.effects == ((Effect.SPAWN,) if state is State.STARTING else ())


def test_deaths_end_where_they_are_said_to():
    for state in (State.STARTING, State.READY):
        assert [step(state, event).state for event in GONE] == [
            State.STARTING,
            State.BACKOFF,
            State.STOPPED,
            State.FAILED,
        ]
    assert step(State.READY, Event.TAKEN_OVER).state is State.STARTING
    assert all(step(state, Event.LINGERS).state is State.DRAINING for state in WITHOUT)


def test_the_values_are_what_status_shows():
    assert [str(state) for state in State] == [
        "starting",
        "ready",
        "draining",
        "backoff",
        "stopped",
        "failed",
    ]
