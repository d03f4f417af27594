"""Scripts: workers that are spent are replaced one at a time, and never before a replacement serves."""

from __future__ import annotations

from tests.rosterkit import CRASH, KILLED, OK, Script, service, serving
from zocalo_daemon.supervision.rolling import LAST_RETRY, RETRY


def test_a_spent_worker_is_replaced_before_it_ends():
    script = serving(service())
    assert script.spent(1, "10,000 messages") == ["spawn 2"]
    assert script.forked(2) == ["started spot/0"]
    assert script.ready(2) == ["drain 1", "recycled spot/0", "ready spot/0"]
    assert script.texts["recycled"] == "10,000 messages"
    assert script.exited(1, OK) == ["exited spot/0"]
    slot = script.roster.slot("spot/0")
    assert (slot.restarts, slot.last_exit, slot.reason) == (0, None, None)
    assert script.roster.next_deadline() is None


def test_to_be_spent_is_said_once():
    script = serving(service())
    script.spent(1)
    assert script.spent(1, "RSS 2.1 GiB") == []
    script.ready(2)
    assert script.texts["recycled"] == "10,000 messages"
    assert script.spent(1) == []


def test_spent_workers_are_replaced_one_after_the_other():
    script = serving(service(instances=3))
    assert script.spent(1) == ["spawn 4"]
    assert script.spent(2) == []
    assert script.spent(3) == []
    script.ready(4)
    assert script.exited(1, OK) == ["exited spot/0"]
    assert script.roster.slot("spot/1").candidate.serial == 5
    script.ready(5)
    script.ready(6)
    assert [slot.current.serial for slot in script.roster.slots()] == [4, 5, 6]


def test_recycling_is_no_death():
    script = serving(service(limit=1))
    for serial in range(1, 20):
        script.spent(serial)
        script.ready(serial + 1)
        script.exited(serial, OK)
    assert script.state() == "ready"
    assert not script.roster.slot("spot/0").deaths


def test_recycling_forgets_no_death_of_a_service_that_crashes():
    script = serving(service(limit=1))
    script.exited(1)
    script.ready(2)
    script.spent(2)
    script.ready(3)
    script.exited(2, OK)
    assert script.exited(3) == ["exited spot/0", "failed spot/0"]


def test_a_replacement_that_dies_leaves_the_spent_worker_and_is_tried_again():
    script = serving(service())
    script.spent(1)
    script.forked(2)
    assert script.exited(2, CRASH, "no licence") == ["exited spot/0", "kept spot/0"]
    assert script.state() == "ready"
    assert script.reason() == (
        "kept the old worker: its replacement did not become ready (exit status 1: no licence); "
        "to be recycled (10,000 messages), tried again after 60 s"
    )
    assert script.spent(1) == []
    assert script.later(RETRY - 1) == []
    assert script.later(1) == ["spawn 3"]
    script.exited(3)
    assert script.later(2 * RETRY - 1) == []
    assert script.later(1) == ["spawn 4"]
    script.ready(4)
    assert script.reason() is None
    script.exited(1, OK)
    assert script.roster.next_deadline() is None


def test_recycling_is_tried_again_for_ever_but_not_more_seldom_than_every_ten_minutes():
    script = serving(service())
    script.spent(1)
    for serial in range(2, 40):
        script.exited(serial)
        script.later(LAST_RETRY)
        assert script.roster.slot("spot/0").candidate.serial == serial + 1
    assert script.roster.slot("spot/0").current.serial == 1


def test_a_replacement_that_is_too_slow_is_tried_again_too():
    script = serving(service(start_timeout=5))
    script.spent(1)
    script.forked(2)
    assert script.later(5) == ["kill 2", "kept spot/0"]
    assert script.exited(2, KILLED) == ["exited spot/0"]
    assert script.later(RETRY) == ["spawn 3"]


def test_recycling_that_fails_concerns_its_instance_alone():
    script = serving(service(instances=2))
    script.spent(1)
    script.spent(2)
    assert script.exited(3) == ["exited spot/0", "kept spot/0", "spawn 4"]
    assert script.ready(4)[1:] == ["drain 2", "recycled spot/1", "ready spot/1"]


def test_a_restart_that_is_asked_for_takes_back_the_replacement_of_a_spent_worker():
    script = serving(service())
    script.spent(1)
    assert script.renew("spot/0") == ["kill 2"]
    script.watch(1, "spot/0", up=True)
    assert script.exited(2, KILLED) == ["spawn 3"]
    assert script.ready(3) == ["started spot/0", "drain 1", "recycled spot/0", "ready spot/0", "finish 1"]
    assert script.outcome(1) == {"spot/0": (True, "")}
    script.exited(1, OK)
    assert not script.roster.services["spot"].rolling


def test_a_restart_that_is_asked_for_does_not_wait_until_recycling_is_tried_again():
    script = serving(service())
    script.spent(1)
    script.exited(2)
    assert script.renew("spot/0") == ["spawn 3"]
    assert script.roster.next_deadline() is None
    script.exited(3)
    assert script.later(2 * RETRY) == ["spawn 4"]


def test_a_restart_that_fails_leaves_spent_workers_in_the_queue():
    script = serving(service(instances=3))
    script.renew("spot/0", "spot/1", "spot/2")
    script.watch(1, "spot/0", "spot/1", "spot/2", up=True)
    script.spent(3)
    assert script.exited(4) == ["exited spot/0", "kept spot/0", "finish 1", "spawn 5"]
    assert script.spawned[5].instance == "spot/2"
    assert not any(ok for ok, _ in script.outcome(1).values())


def test_start_does_not_wait_for_recycling():
    script = serving(service())
    script.spent(1)
    assert script.watch(1, "spot/0", up=True) == ["finish 1"]
    assert script.outcome(1) == {"spot/0": (True, "")}


def test_a_spent_worker_that_dies_meanwhile_is_replaced_by_its_replacement():
    script = serving(service())
    script.spent(1)
    assert script.exited(1, KILLED) == ["exited spot/0"]
    assert script.ready(2) == ["started spot/0", "ready spot/0"]
    assert not script.roster.services["spot"].rolling


def test_a_worker_that_is_not_wanted_is_not_recycled():
    script = serving(service())
    script.down("spot/0")
    assert script.spent(1) == []
    script.exited(1, OK)
    assert script.state() == "stopped"


def test_stop_ends_recycling():
    script = serving(service())
    script.spent(1)
    script.exited(2)
    script.down("spot/0")
    script.exited(1, OK)
    assert script.roster.next_deadline() is None


def test_a_replacement_that_is_spent_at_once_is_replaced_in_its_turn():
    script = serving(service())
    script.renew("spot/0")
    script.forked(2)
    assert script.spent(2, "1 message") == []
    script.ready(2)
    assert script.exited(1, OK) == ["exited spot/0", "spawn 3"]


# -- Age


def test_a_worker_is_recycled_before_it_is_too_old():
    script = Script(service(max_age=1000))
    script.later(500)  # its start does not count
    script.ready(1)
    assert script.later(949) == []
    assert script.later(1) == ["spawn 2"]
    assert script.ready(2)[1:] == ["drain 1", "recycled spot/0", "ready spot/0"]
    assert script.texts["recycled"] == "age 950 s"
    script.exited(1, OK)
    assert script.later(949) == []
    assert script.later(1) == ["spawn 3"]


def test_workers_of_one_age_are_not_recycled_together():
    chances = iter([0.0, 0.5, 0.75])
    script = Script(service(instances=0, max_age=1000))
    script.roster._workers._chance = lambda: next(chances)
    script.scale("spot", 3)
    for serial in (1, 2, 3):
        script.ready(serial)
    began = script.now
    dues = [script.roster.worker(serial).due - began for serial in (1, 2, 3)]
    assert dues == [900, 950, 975]


def test_a_new_age_counts_for_workers_that_run_already():
    script = serving(service())
    script.later(500)
    script.apply(service(max_age=1000))
    assert script.roster.next_deadline() == script.now + 450
    script.apply(service(max_age=100))
    assert script.later(0) == ["spawn 2"]
    script.apply(service())
    script.ready(2)
    script.exited(1, OK)
    assert script.roster.next_deadline() is None


def test_a_worker_that_is_stopped_has_no_age():
    script = serving(service(max_age=1000, stop_timeout=3600))
    script.down("spot/0")
    assert script.later(2000) == []
    script.apply(service(max_age=10, stop_timeout=3600))
    assert script.later(1599) == []
    assert script.later(1) == ["kill 1"]


# -- Messages


def test_a_worker_gets_a_little_less_than_the_messages_configured():
    script = Script(service(max_messages=1000), service("find", max_messages=1), service("other"))
    assert [script.spawned[serial].max_messages for serial in (1, 2, 3)] == [950, 1, None]
