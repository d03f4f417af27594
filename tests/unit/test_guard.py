"""The guard looks when it must, and no more often; time and timers are played."""

from types import SimpleNamespace

import pytest

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision import guard as module
from zocalo_daemon.supervision import stops
from zocalo_daemon.supervision.events import Hung, Stalled
from zocalo_daemon.supervision.guard import SPACING, Guard
from zocalo_daemon.supervision.liveness import Phase
from zocalo_daemon.supervision.worker_process import Process

SECOND = 10**9


class Play:
    """A fleet of processes that exist on paper."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.timers, self.events, self.told, self.entries = [], [], [], {}
        self.limits = []
        self.changes, self.deep, self.looks = [], "", 0
        self.processes = {}
        self.services = {}
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(stops, "changes", lambda: iter(self.changes))
        monkeypatch.setattr(stops, "is_stopped", lambda pid: True)
        monkeypatch.setattr(stops, "deep_sleep", lambda pid: self.deep)
        self.guard = Guard(
            SimpleNamespace(
                processes=self.processes,
                board=SimpleNamespace(read=self.read),
                limit=lambda worker, **limits: self.limits.append((worker.serial, limits)),
            ),
            helpers=lambda: {40: "relay"},
            services=lambda: self.services,
            after=lambda seconds, what: self.timers.append((self.now + seconds, what)),
            report=self.events.append,
            tell=lambda *said: self.told.append(said),
        )

    def read(self, number):
        self.looks += 1
        return self.entries.get(number, Entry())

    def fork(self, serial, limit=10.0, phase=Phase.SERVING, service="a"):
        config = ServiceConfig(service, "C", hang_timeout=limit)
        worker = Process(serial, f"{service}/0", None, config, serial, pid=4700 + serial, since=self.now)
        worker.phase = phase
        self.processes[serial] = worker
        self.guard.forked(serial)
        return worker

    def run(self, until):
        """Let time pass; return how often there was something to wake up for."""
        wakes = 0
        while self.timers and min(self.timers, key=lambda timer: timer[0])[0] <= until:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
            wakes += 1
        self.now = until
        return wakes


@pytest.fixture
def play(monkeypatch):
    return Play(monkeypatch)


def test_a_hang_is_reported_when_the_limit_is_reached_once(play):
    play.fork(1, phase=Phase.INITIALIZING)
    play.run(1009.9)
    assert play.events == []
    play.run(1010.0)
    assert play.events == [Hung(1, "no progress for 10 s in initializing()")]
    play.run(1100.0)
    assert len(play.events) == 1


def test_a_callback_that_begins_after_a_look_is_noticed_in_time(play):
    play.fork(1)
    play.run(1015.0)
    play.entries[1] = Entry(progress=1015 * SECOND, delivery=17, begun=1, given=1)
    play.run(1024.9)
    assert play.events == []
    play.run(1025.0)
    assert play.events == [Hung(1, "no progress for 10 s on the delivery in hand")]


def test_many_idle_workers_cost_one_wake_up_in_the_time_of_the_limit(play):
    for serial in range(500):
        play.fork(serial, service=f"s{serial % 7}")
        play.now += 0.01
    assert play.run(2005.0) <= 101


def test_workers_in_callbacks_that_began_at_different_times_are_looked_at_together(play):
    for serial in range(100):
        play.fork(serial)
        play.entries[serial] = Entry(progress=int((1000 + serial * 0.001) * SECOND), begun=1, given=1)
    wakes = play.run(1010.0 + 0.1 + SPACING)
    assert len(play.events) == 100
    assert wakes <= 4


def test_no_limit_no_wake_up_and_a_new_one_counts_at_once(play):
    worker = play.fork(1, limit=None)
    play.entries[1] = Entry(progress=1000 * SECOND, delivery=17, begun=1, given=1)
    assert play.run(2000.0) == 0
    play.services["a"] = ServiceConfig("a", "C", hang_timeout=5.0)
    play.guard.refresh()
    play.run(2000.0)
    assert play.events == [Hung(1, "no progress for 5 s on the delivery in hand")]
    assert worker.hung


def test_a_limit_that_is_taken_away_ends_the_looks(play):
    play.fork(1)
    play.services["a"] = ServiceConfig("a", "C")
    play.guard.refresh()
    assert play.run(1e6) == 1


def test_new_limits_of_messages_and_memory_are_told_to_those_whom_they_concern(play):
    play.fork(1, service="a")
    play.fork(2, service="b")
    play.services["a"] = ServiceConfig("a", "C", max_messages=1000, max_rss=2**30)
    play.services["b"] = ServiceConfig("b", "C", instances=2)
    play.guard.refresh()
    ((serial, limits),) = play.limits
    assert serial == 1
    assert limits["max_rss"] == 2**30
    assert 900 <= limits["max_messages"] <= 1000
    play.guard.refresh()
    play.services["a"] = ServiceConfig("a", "C")
    play.guard.refresh()
    assert play.limits[1:] == [(1, {"max_messages": None, "max_rss": None})]


def test_what_moved_on_while_it_was_read_does_not_hang(play):
    play.fork(1)
    answers = [Entry(progress=1, begun=2, ended=1), Entry(progress=1010 * SECOND, begun=2, ended=2)]
    play.guard._fleet.board.read = lambda number: answers.pop(0)
    play.run(1010.0)
    assert play.events == []


def test_a_hang_in_uninterruptible_sleep_says_where(play):
    play.fork(1, phase=Phase.IN_SHUTDOWN)
    play.deep = "nfs_wait"
    play.run(1010.0)
    assert play.events == [
        Hung(1, "no progress for 10 s in in_shutdown(), in uninterruptible sleep in nfs_wait")
    ]


def test_a_killed_worker_that_does_not_end_is_named(play):
    play.fork(1, limit=None)
    play.guard.killed(1)
    play.run(1001.9)
    assert play.events == []
    play.deep = "nfs_wait"
    play.run(1002.0)
    said = Stalled(1, "killed, but in uninterruptible sleep in nfs_wait: it ends when that does")
    assert play.events == [said]
    del play.processes[1]
    play.run(1100.0)
    assert play.events == [said]


def test_a_worker_that_is_stopped_is_named_and_has_its_time_anew_when_it_goes_on(play):
    play.fork(1)
    play.run(1005.0)
    play.changes = [(4701, "SIGSTOP")]
    play.guard.children_changed()
    assert play.events == [Stalled(1, "stopped by SIGSTOP; it goes on with: kill -CONT 4701")]
    play.run(1012.0)
    play.changes = [(4701, "")]
    play.guard.children_changed()
    assert play.events[1:] == [Stalled(1, "")]
    play.entries[1] = Entry(progress=1004 * SECOND, delivery=17, begun=1, given=1)
    play.run(1021.9)
    assert len(play.events) == 2
    play.run(1022.0)
    assert play.events[2:] == [Hung(1, "no progress for 10 s on the delivery in hand")]


def test_one_that_stays_stopped_hangs_though_it_had_nothing_to_do(play):
    play.fork(1)
    play.changes = [(4701, "SIGSTOP")]
    play.run(1005.0)
    play.guard.children_changed()
    play.run(1015.0)
    assert play.events[1:] == [Hung(1, "no progress for 10 s: stopped by SIGSTOP")]


def test_a_worker_that_is_stopped_before_its_pid_is_known(play):
    play.changes = [(4701, "SIGSTOP")]
    play.guard.children_changed()
    assert play.events == []
    play.fork(1)
    assert play.events == [Stalled(1, "stopped by SIGSTOP; it goes on with: kill -CONT 4701")]


def test_a_helper_that_is_stopped_is_told_of(play):
    play.changes = [(40, "SIGTSTP")]
    play.guard.children_changed()
    advice = "stopped by SIGTSTP; it goes on with: kill -CONT 40"
    assert play.guard.trouble(40) == advice
    assert play.guard.trouble(41) is None
    play.changes = [(40, "")]
    play.guard.children_changed()
    assert play.guard.trouble(40) is None
    assert play.told == [("stalled", "relay", advice), ("resumed", "relay", "pid 40")]
