"""Health is progress: defect 13 of the peers, that nothing answers for a stopped service, is absent."""

import json
from types import SimpleNamespace

import pytest

from zocalo_daemon.control import health
from zocalo_daemon.supervision.lifecycle import State


def slot(name, state, *, wanted=True, hung="", stalled="", reason=None):
    service = SimpleNamespace(config=SimpleNamespace(name=name.partition("/")[0]))
    worker = SimpleNamespace(hung=hung, stalled=stalled) if state in (State.READY, State.STARTING) else None
    return SimpleNamespace(
        id=name, service=service, state=state, wanted=wanted, current=worker, reason=reason
    )


def ask(slots, name="", hung=lambda _worker: ""):
    made = health.answer(slots, name, hung)
    return made.status, json.loads(made.body)


@pytest.mark.parametrize("state", [State.READY, State.STARTING, State.DRAINING])
def test_who_serves_starts_or_finishes_is_healthy(state):
    assert ask([slot("a/0", state)])[0] == 200


@pytest.mark.parametrize("state", [State.BACKOFF, State.FAILED, State.STOPPED])
def test_who_has_no_worker_is_not_and_the_reason_is_told(state):
    status, told = ask([slot("a/0", state, reason="exit status 1"), slot("b/0", State.READY)])
    assert status == 503
    assert told["instances"]["a/0"]["reason"] == f"{state}: exit status 1"
    assert told["instances"]["b/0"]["healthy"]


def test_who_makes_no_progress_is_not():
    assert ask([slot("a/0", State.READY)], hung=lambda _worker: "no progress for 5 s")[0] == 503
    assert ask([slot("a/0", State.READY, stalled="stopped by SIGSTOP")])[0] == 503


def test_one_that_somebody_has_stopped_is_answered_for_and_does_not_count_for_the_whole():
    slots = [slot("a/0", State.STOPPED, wanted=False), slot("b/0", State.READY)]
    assert ask(slots)[0] == 200
    assert ask(slots, "a/0")[0] == ask(slots, "a")[0] == 503
    assert ask(slots, "b")[0] == ask(slots, "b/0")[0] == 200


def test_who_is_not_known():
    assert ask([slot("a/0", State.READY)], "a/1")[0] == 404
