"""What systemd is told, and in which order."""

from types import SimpleNamespace

import pytest

from zocalo_daemon.control.manager import Facts, Told, text
from zocalo_daemon.supervision.lifecycle import State
from zocalo_daemon.values import replace

RUNS = Facts("running", True, 0, False, "fine")


def say(told, now):
    return told.news(now, 7, 12.5)


def test_it_is_ready_when_it_has_settled_and_once():
    told = Told(0)
    starts = replace(RUNS, state="starting", settled=False, text="starting")
    assert say(told, starts) == [{"STATUS": "starting"}]
    assert say(told, starts) == []
    assert say(told, RUNS) == [{"READY": 1, "MAINPID": 7, "STATUS": "fine"}]
    assert say(told, RUNS) == []
    assert say(told, replace(RUNS, settled=False)) == []
    assert say(told, replace(RUNS, text="other")) == [{"STATUS": "other"}]


def test_a_reload_has_a_beginning_with_a_time_and_an_end():
    told = Told(3)
    say(told, replace(RUNS, reloads=3))
    begins = replace(RUNS, reloads=4, reloading=True)
    assert say(told, begins) == [{"RELOADING": 1, "MONOTONIC_USEC": 12_500_000}]
    assert say(told, begins) == []
    assert say(told, replace(begins, reloading=False)) == [{"READY": 1}]


def test_a_reload_that_is_over_at_once_is_told_too():
    told = Told(0)
    say(told, RUNS)
    ended = replace(RUNS, reloads=1)
    assert say(told, ended) == [{"RELOADING": 1, "MONOTONIC_USEC": 12_500_000}, {"READY": 1}]


def test_one_that_comes_during_another_is_answered_by_its_end():
    told = Told(0)
    say(told, RUNS)
    say(told, replace(RUNS, reloads=1, reloading=True))
    assert [*map(list, say(told, replace(RUNS, reloads=2, reloading=True)))] == [
        ["RELOADING", "MONOTONIC_USEC"]
    ]
    assert say(told, replace(RUNS, reloads=2)) == [{"READY": 1}]


def test_a_stop_is_told_once_and_ends_everything_else():
    told = Told(0)
    say(told, RUNS)
    stops = replace(RUNS, state="stopping", text="stopping")
    assert say(told, stops) == [{"STOPPING": 1, "EXTEND_TIMEOUT_USEC": 30_000_000, "STATUS": "stopping"}]
    assert say(told, replace(stops, reloads=1)) == []
    assert say(told, replace(stops, state="stopped")) == []


def slot(name, state, wanted=True):
    return SimpleNamespace(id=name, state=state, wanted=wanted)


RABBIT = {"name": "rabbit", "driver": "rabbitmq", "state": "connected", "host": "rmq1:5672"}
SLOTS = [
    slot("spot/0", State.READY),
    slot("spot/1", State.FAILED),
    slot("mail/0", State.BACKOFF),
    slot("off/0", State.STOPPED, wanted=False),
]


def test_the_status_text_says_that_a_reload_was_refused():
    said = text("running", SLOTS[:1], [], "z.yaml:3: " + "x" * 1000)
    assert said.startswith("1 of 1 instances ready; the last reload changed nothing: z.yaml:3: xxx")
    assert len(said) < 300


@pytest.mark.parametrize(
    ("state", "slots", "transports", "said"),
    [
        ("running", [], [], "no instances"),
        ("running", SLOTS[:1], [RABBIT], "1 of 1 instances ready; rabbit: connected to rmq1:5672"),
        ("running", SLOTS, [], "1 of 3 instances ready; failed: spot/1; backoff: mail/0"),
        ("starting", SLOTS[:1], [], "starting: 1 of 1 instances ready"),
        ("stopping", SLOTS, [], "stopping: 3 of 4 instances have still to finish"),
        (
            "running",
            [slot(f"a/{n}", State.FAILED) for n in range(5)],
            [{**RABBIT, "driver": "embedded", "state": "stopped", "detail": "damaged"}],
            "0 of 5 instances ready; failed: a/0, a/1, a/2 and 2 more; rabbit: stopped (damaged)",
        ),
    ],
)
def test_the_status_text_says_how_it_is(state, slots, transports, said):
    assert text(state, slots, transports) == said
