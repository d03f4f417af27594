"""Deadlines."""

from __future__ import annotations

from zocalo_daemon.supervision.slots import Timers, Watch


def test_deadlines_come_in_order():
    timers = Timers()
    watches = [Watch(number, {}) for number in range(4)]
    for watch, due in zip(watches, (30.0, 10.0, 20.0, 10.0), strict=True):
        timers.set(watch, due)
    assert timers.next() == 10.0
    assert timers.pop(9.9) is None
    assert [timers.pop(20.0) for _ in range(4)] == [watches[1], watches[3], watches[2], None]
    assert [watch.due for watch in watches] == [30.0, None, None, None]


def test_only_the_last_deadline_of_an_owner_counts():
    timers = Timers()
    later, sooner, none = (Watch(number, {}) for number in range(3))
    for owner, dues in ((later, (10.0, 40.0)), (sooner, (40.0, 20.0)), (none, (5.0, None))):
        for due in dues:
            timers.set(owner, due)
    assert timers.next() == 20.0
    assert timers.pop(100.0) is sooner
    assert timers.pop(100.0) is later
    assert timers.pop(100.0) is None
    assert timers.next() is None


def test_a_deadline_that_is_set_twice_comes_once():
    timers = Timers()
    watch = Watch(1, {})
    timers.set(watch, 10.0)
    timers.set(watch, 10.0)
    assert timers.pop(10.0) is watch
    assert timers.pop(10.0) is None
