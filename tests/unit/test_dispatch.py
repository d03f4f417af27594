"""Windows: how much a worker gets ahead, and when it is taken back."""

from __future__ import annotations

import pytest

from zocalo_daemon.relay.dispatch import AHEAD, AHEAD_BYTES, FIRST_AHEAD, LARGEST, PATIENCE, TARGET, Window


def run(window: Window, seconds: float, count: int, now: float = 100.0) -> float:
    """Let a worker settle `count` deliveries, one after the other; return the time."""
    for _ in range(count):
        fill(window, now)
        now += seconds
        window.settled(now)
    return now


def fill(window: Window, now: float) -> None:
    window.change()
    while window.granted:
        window.delivered(now)


@pytest.mark.parametrize("prefetch", [1, 3, 65535])
def test_an_explicit_window_stays_as_it_is(prefetch):
    window = Window(prefetch)
    assert window.change() == min(prefetch, FIRST_AHEAD)
    assert window.change() == 0
    fill(window, 1.0)
    fill(window, 1.0)
    window.settled(500.0)
    assert window.size == window.gate == prefetch
    assert window.change() > 0
    assert window.patience_ends() is None


def test_an_adaptive_window_begins_with_one():
    window = Window(0)
    assert (window.size, window.gate) == (1, 1)
    assert window.change() == 1


@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.005])
def test_it_grows_until_the_target_is_buffered(seconds):
    window = Window(0)
    run(window, seconds, 200)
    assert window.size == pytest.approx(min(LARGEST, TARGET / seconds), rel=0.1, abs=1)


def test_it_grows_by_doubling_at_most():
    window = Window(0)
    sizes = []
    now = 100.0
    for _ in range(10):
        now = run(window, 0.00001, 1, now)
        sizes.append(window.size)
    assert sizes[:4] == [2, 4, 8, 16]
    assert max(sizes) == LARGEST


def test_it_shrinks_at_once_when_callbacks_get_long():
    window = Window(0)
    now = run(window, 0.0005, 100)
    assert window.size > 20
    run(window, 0.04, 1, now)
    assert window.size == 1


def test_idle_time_is_not_service_time():
    window = Window(0)
    now = run(window, 0.001, 100)
    window.out = 0
    window.granted = 1
    window.delivered(now + 3600)
    window.settled(now + 3600.001)
    assert window.size > 10


def test_several_settled_in_one_read_share_their_time():
    window = Window(0)
    now = run(window, 0.001, 100)
    fill(window, now)
    window.settled(now + 0.01, 10)
    assert window.size == pytest.approx(TARGET / 0.001, rel=0.15)


def test_it_is_recalled_when_the_head_is_out_for_long():
    window = Window(0)
    now = run(window, 0.001, 100)
    fill(window, now)
    assert window.patience_ends() == pytest.approx(now + PATIENCE)
    assert not window.recall(now + PATIENCE / 2)
    assert window.recall(now + PATIENCE)
    assert not window.recall(now + 2 * PATIENCE), "once is enough"
    window.released(window.out - 1)
    assert window.change() == 0, "nothing more while the head is out"
    window.settled(now + 60)
    assert window.change() == 1


def test_one_in_hand_alone_is_not_recalled():
    window = Window(0)
    fill(window, 100.0)
    assert window.out == 1
    assert window.patience_ends() is None


def test_the_broker_is_not_asked_for_more_bytes_than_the_relay_wants_to_hold():
    window = Window(65535)
    assert window.change() == FIRST_AHEAD
    window.delivered(1.0, 100)
    assert window.granted + window.change() == AHEAD
    window.delivered(1.0, AHEAD_BYTES // 4)
    window.change()
    assert window.granted == 4
    window.delivered(1.0, 60 * AHEAD_BYTES)
    window.change()
    assert window.granted == 1


def test_a_worker_that_does_not_read_gets_nothing():
    window = Window(10)
    window.change()
    window.delivered(1.0)
    assert window.change(paused=True) == -9
    assert window.change() == 9
    window.closed = True
    assert window.change() == -9


def test_what_waits_is_recalled_from_a_service_that_became_slower():
    window = Window(0)
    now = run(window, 0.00001, 50)
    fill(window, now)
    begun = now
    while not window.recall(now):
        now += 0.005
        window.settled(now)
        assert now < begun + 2 * PATIENCE
    assert now >= begun + PATIENCE


def test_one_slow_callback_among_short_ones_recalls_nothing():
    window = Window(0)
    now = run(window, 0.00001, 50)
    fill(window, now)
    for seconds in (PATIENCE / 3, *[0.00001] * 100):
        now += seconds
        window.settled(now)
        fill(window, now)
        assert not window.recall(now)
    assert not window.recall(now + 0.9 * PATIENCE)
