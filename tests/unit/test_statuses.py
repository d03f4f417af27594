"""Which status each worker shows, and who is told of when."""

from __future__ import annotations

from itertools import pairwise

import pytest
from workflows.services.common_service import CommonService

from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision import statuses
from zocalo_daemon.supervision.liveness import Phase
from zocalo_daemon.supervision.statuses import (
    ERROR,
    EVERY,
    IDLE,
    PROCESSING,
    SHUTDOWN,
    STARTING,
    TICK,
    TIMER,
    Glimpse,
    Statuses,
)

SECOND = 10**9
LONG_IDLE = Entry(progress=10 * SECOND, handed=9 * SECOND, begun=3, ended=3, given=3)
BUSY = Entry(progress=10 * SECOND, handed=9 * SECOND, begun=4, ended=3, given=4)


def shown(*glimpses: tuple[float, Entry], phase: Phase = Phase.SERVING, failed: bool = False) -> int:
    """Return what a worker shows after looks at (time, entry)."""
    subject = Statuses()
    for now, entry in glimpses:
        subject.look({1: Glimpse(phase, entry, failed)}, now)
    return subject.status(1)


def test_numbers_and_texts_are_those_of_workflows():
    ours = {**statuses.TEXTS}
    theirs = CommonService.human_readable_state
    assert ours == {code: theirs[code] for code in ours}
    for name in ("TEARDOWN", "STARTING", "IDLE", "TIMER", "PROCESSING", "SHUTDOWN", "ERROR"):
        assert getattr(statuses, name) == getattr(CommonService, f"SERVICE_STATUS_{name}")


@pytest.mark.parametrize(
    ("phase", "failed", "entry", "status"),
    [
        (Phase.INITIALIZING, False, LONG_IDLE, STARTING),
        (Phase.SERVING, False, LONG_IDLE, IDLE),
        (Phase.SERVING, False, BUSY, PROCESSING),
        (Phase.IN_SHUTDOWN, False, LONG_IDLE, SHUTDOWN),
        (Phase.IN_SHUTDOWN, True, LONG_IDLE, ERROR),
    ],
)
def test_a_status_follows_from_phase_and_board(phase, failed, entry, status):
    assert shown((20.0, entry), phase=phase, failed=failed) == status


def test_a_message_that_waits_in_the_services_own_queue_means_a_timer_event():
    waiting = Entry(progress=10 * SECOND, handed=10 * SECOND, begun=3, ended=3, given=4)
    assert shown((10.1, waiting)) == IDLE, "it may just be on its way to the main loop"
    assert shown((10.1, waiting), (11.0, waiting)) == TIMER


def test_idle_is_held_back_for_half_a_second():
    """The row `status broadcast` of what sites rely on: IDLE held back 0.5 s."""
    ended = Entry(progress=12 * SECOND, handed=11 * SECOND, begun=4, ended=4, given=4)
    assert shown((11.0, BUSY), (12.4, ended)) == PROCESSING
    assert shown((11.0, BUSY), (12.6, ended)) == IDLE
    sent = Entry(progress=12 * SECOND, handed=9 * SECOND, begun=3, ended=3, given=3)
    assert shown((11.0, LONG_IDLE), (12.4, sent)) == TIMER, "it sends, and not in a callback"
    assert shown((11.0, LONG_IDLE), (12.4, sent), (13.4, sent)) == IDLE


def looks(subject: Statuses, count: int, entries: dict[int, Entry], start: float = 100.0) -> list[list[int]]:
    glimpses = {serial: Glimpse(Phase.SERVING, entry) for serial, entry in entries.items()}
    return [subject.look(glimpses, start + number * TICK) for number in range(count)]


@pytest.mark.parametrize("count", [1, 7, 100, 501])
def test_each_is_told_within_six_seconds_and_never_many_at_once(count):
    """The row `status broadcast`: at least every 6 s."""
    assert EVERY * TICK < 6
    subject = Statuses()
    told = looks(subject, 10 * EVERY, dict.fromkeys(range(count), LONG_IDLE))
    most = max(10, -(-count // EVERY))
    assert all(len(serials) <= most for serials in told)
    for serial in range(count):
        at = [number for number, serials in enumerate(told) if serial in serials]
        assert at[0] < EVERY
        assert all(later - earlier <= EVERY for earlier, later in pairwise(at))
    assert sum(map(len, told[EVERY:])) / (9 * EVERY * TICK) <= max(1, count) / (EVERY * TICK) + 1e-9


def test_a_change_is_told_at_once_as_far_as_there_is_room():
    subject = Statuses()
    looks(subject, EVERY, {1: LONG_IDLE, 2: LONG_IDLE})
    (told,) = looks(subject, 1, {1: BUSY, 2: LONG_IDLE}, 200.0)
    assert 1 in told
    (told,) = looks(subject, 1, {1: BUSY, 2: LONG_IDLE}, 201.0)
    assert 1 not in told


def test_changes_of_all_workers_do_not_multiply_the_messages():
    subject = Statuses()
    entries = [dict.fromkeys(range(100), BUSY), dict.fromkeys(range(100), LONG_IDLE)]
    told = [looks(subject, 1, entries[n % 2], 100.0 + n)[0] for n in range(60)]
    assert max(map(len, told[EVERY:])) <= 17 + 1
    assert all(any(serial in serials for serials in told[-EVERY - 1 :]) for serial in range(100))


def test_utilization_is_the_share_of_each_status():
    subject = Statuses()
    looks(subject, 4, {1: LONG_IDLE})
    looks(subject, 2, {1: BUSY}, 200.0)
    assert subject.utilization(1) == {str(IDLE): 0.6667, str(PROCESSING): 0.3333}


def test_those_that_have_ended_are_forgotten_and_a_new_relay_is_told_all():
    subject = Statuses()
    looks(subject, EVERY, {1: LONG_IDLE, 2: LONG_IDLE})
    looks(subject, 1, {2: LONG_IDLE})
    with pytest.raises(KeyError):
        subject.status(1)
    subject.forget()
    assert looks(subject, 1, {2: LONG_IDLE}) == [[2]]


def test_when_all_have_been_idle_in_all_looks_that_count_the_same_may_be_told_again_and_again():
    subject = Statuses()
    assert subject.settled, "there is nobody"
    looks(subject, EVERY - 1, {1: LONG_IDLE, 2: LONG_IDLE})
    assert not subject.settled, "their utilization still changes"
    looks(subject, 1, {1: LONG_IDLE, 2: LONG_IDLE}, 200.0)
    assert subject.settled
    assert sorted(subject.everyone()) == [1, 2]
    assert looks(subject, EVERY - 1, {1: LONG_IDLE, 2: LONG_IDLE}, 300.0) == [[]] * (EVERY - 1)
    looks(subject, 1, {1: LONG_IDLE, 2: BUSY}, 400.0)
    assert not subject.settled
