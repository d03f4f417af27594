"""When a worker hangs, and when it is looked at again."""

import pytest

from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision.liveness import Phase, judge

LIMIT = 10.0
SECOND = 10**9


def look(entry, now, phase=Phase.SERVING, since=0.0, stopped=""):
    verdict = judge(entry, phase, since=since, limit=LIMIT, now=now, stopped=stopped)
    assert verdict.again > now, "a look that leads to the same look at once would never end"
    return verdict.hung or verdict.again


RUNNING = Entry(progress=100 * SECOND, handed=99 * SECOND, delivery=17, begun=3, ended=2, given=3)
TOPIC = Entry(progress=100 * SECOND, handed=99 * SECOND, delivery=0, begun=3, ended=2, given=3)
WAITING = Entry(progress=50 * SECOND, handed=100 * SECOND, delivery=17, begun=3, ended=3, given=4)
IDLE = Entry(progress=50 * SECOND, handed=49 * SECOND, delivery=17, begun=3, ended=3, given=3)
ASKING = Entry(progress=50 * SECOND, handed=49 * SECOND, delivery=17, begun=3, ended=2, given=3, asking=1)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (RUNNING, "no progress for 10 s on the delivery in hand"),
        (TOPIC, "no progress for 10 s on a message of a topic"),
        (WAITING, "no progress for 10 s while a message waits in the service's own queue"),
    ],
)
def test_work_hangs_when_the_limit_is_reached_and_not_before(entry, what):
    assert look(entry, 100.5) == 110.0
    assert look(entry, 109.99) == 110.0
    assert look(entry, 110.0) == what


def test_a_callback_that_calls_its_transport_goes_on():
    assert look(RUNNING, 110.0).startswith("no progress")
    assert look(Entry(109 * SECOND, 99 * SECOND, 17, 3, 2, 3), 110.0) == 119.0


def test_a_message_waits_since_it_was_handed_over_or_the_last_callback_ended():
    later = Entry(progress=108 * SECOND, handed=100 * SECOND, delivery=17, begun=3, ended=3, given=4)
    assert look(later, 110.0) == 118.0


@pytest.mark.parametrize("entry", [IDLE, ASKING, Entry()])
def test_nothing_to_do_and_a_wait_for_the_relay_are_looked_at_once_in_the_time_of_the_limit(entry):
    assert look(entry, 1000.0) == 1010.0


@pytest.mark.parametrize("phase", [Phase.INITIALIZING, Phase.IN_SHUTDOWN])
def test_start_and_end_have_the_same_limit_from_their_beginning_or_the_last_call(phase):
    assert look(Entry(), 105.0, phase, since=100.0) == 110.0
    assert look(Entry(), 110.0, phase, since=100.0) == f"no progress for 10 s in {phase.value}"
    assert look(Entry(progress=104 * SECOND), 110.0, phase, since=100.0) == 114.0
    assert look(ASKING, 1000.0, phase, since=100.0) == 1010.0


def test_the_start_of_serving_counts_as_progress():
    assert look(WAITING, 110.0, since=105.0) == 115.0


@pytest.mark.parametrize("entry", [IDLE, RUNNING, ASKING])
def test_one_that_is_stopped_can_do_nothing(entry):
    assert look(entry, 205.0, since=200.0, stopped="SIGSTOP") == 210.0
    assert look(entry, 210.0, since=200.0, stopped="SIGSTOP") == ("no progress for 10 s: stopped by SIGSTOP")
