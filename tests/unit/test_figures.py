import os

from zocalo_daemon.supervision.figures import PSS_AGE, RSS_AGE, Cost, Figures
from zocalo_daemon.values import parts


class Clock:
    """Stands still unless told otherwise."""

    now = 100.0

    def __call__(self):
        return self.now


def test_what_workers_did_adds_up_over_relays():
    figures = Figures(Clock())
    figures.watch(7)
    figures.relay_reports({"7": {"processed": 3, "in_flight": 1}}, [])
    figures.relay_ended()
    assert (figures.work(7).processed, figures.work(7).in_flight) == (3, 0)
    figures.relay_reports({"7": {"processed": 2, "in_flight": 1}}, [])
    assert (figures.work(7).processed, figures.work(7).in_flight) == (5, 1)


def test_only_workers_are_kept():
    figures = Figures(Clock())
    figures.watch(7)
    figures.forget(7)
    figures.relay_reports({"7": {"processed": 3}, "8": {"processed": 1}}, [])
    assert figures.work(7).processed == figures.work(8).processed == 0
    figures.watch(8)
    assert figures.work(8).processed == 0


def test_transports_of_a_dead_relay_are_stopped():
    figures = Figures(Clock())
    figures.relay_reports({}, [{"name": "a", "state": "connected", "unsettled": 4}])
    figures.relay_ended()
    left = {"name": "a", "state": "stopped", "unsettled": 0, "since": None, "next_attempt": None}
    assert figures.transports == [left]


def test_costs_of_this_process():
    figures = Figures(Clock())
    assert parts(figures.cost(os.getpid())) == parts(Cost())
    figures.read([os.getpid()], 1.0)
    cost = figures.cost(os.getpid())
    assert cost.rss_bytes > 10**6
    assert 10**6 < cost.pss_bytes <= cost.rss_bytes * 2
    assert cost.cpu_s > 0


def test_figures_are_read_again_only_when_they_are_old():
    clock = Clock()
    figures = Figures(clock)
    figures.read([os.getpid()], 1.0)
    cost = figures.cost(os.getpid())
    cost.rss_bytes = cost.pss_bytes = 1
    figures.read([os.getpid()], 1.0)
    assert (cost.rss_bytes, cost.pss_bytes) == (1, 1)
    clock.now += RSS_AGE
    figures.read([os.getpid()], 1.0)
    assert cost.rss_bytes > 1
    assert cost.pss_bytes == 1
    clock.now += PSS_AGE
    figures.read([os.getpid()], 1.0)
    assert cost.pss_bytes > 1


def test_a_spent_budget_reads_the_oldest_only():
    clock = Clock()
    figures = Figures(clock)
    figures.read([os.getpid(), os.getppid()], -1.0)
    assert figures.cost(os.getpid()).rss_bytes == 0


def test_a_process_that_has_ended_costs_nothing():
    figures = Figures(Clock())
    figures.read([2**22 + 1], 1.0)
    assert figures.cost(2**22 + 1).rss_bytes == 0


def test_several_relays_are_summed():
    figures = Figures(lambda: 0.0)
    figures.watch(7)
    told = {"name": "far", "connections": 2, "subscriptions": 3, "unsettled": 1, "spooled": 0}
    told |= {"state": "connected", "spooled_bytes": 0, "spooled_since": None, "detail": ""}
    figures.relay_reports({"7": {"processed": 3, "in_flight": 1}}, [{"name": "near"}, told], 0)
    away = {
        "state": "connecting",
        "detail": "refused",
        "spooled": 2,
        "spooled_bytes": 9,
        "spooled_since": 5.0,
    }
    figures.relay_reports({"7": {"processed": 4, "in_flight": 0}}, [told | away], 1)
    assert (figures.work(7).processed, figures.work(7).in_flight) == (7, 1)
    near, far = figures.transports
    assert near == {"name": "near"}
    assert far == told | away | {"connections": 4, "subscriptions": 6, "unsettled": 2}
    figures.relay_ended(1)
    assert (figures.work(7).processed, figures.work(7).in_flight) == (7, 1)
    assert (figures.transports[1]["state"], figures.transports[1]["unsettled"]) == ("stopped", 1)
    figures.relay_reports({"7": {"processed": 1}}, [told], 1)
    assert figures.work(7).processed == 8
    assert figures.transports[1]["state"] == "connected"
