"""Scripts: what happens to the roster, and what it does about it."""

from __future__ import annotations

import time

import pytest

from tests.rosterkit import CRASH, KILLED, OK, Script, service, serving
from zocalo_daemon.supervision.events import Exited, Ready
from zocalo_daemon.supervision.restart import REFUSED

# -- Start, death, backoff


def test_every_instance_is_started():
    script = Script(service(instances=2), service("find"))
    assert script.first == ["spawn 1", "spawn 2", "spawn 3"]
    assert [spawn.instance for spawn in script.spawned.values()] == ["spot/0", "spot/1", "find/0"]
    assert script.state() == "starting"


def test_a_worker_is_ready_when_it_says_so():
    script = Script(service())
    assert script.forked(1) == ["started spot/0"]
    assert script.ready(1) == ["ready spot/0"]
    assert script.state() == "ready"
    assert script.roster.next_deadline() is None


def test_a_worker_may_be_ready_before_its_fork_is_known():
    script = Script(service())
    script.said(script.roster.handle(Ready(1), script.now))
    script.forked(1)
    assert script.roster.next_deadline() is None
    assert script.later(1000) == []
    assert script.state() == "ready"


def test_a_first_death_is_answered_at_once():
    script = serving(service())
    script.later(5)
    assert script.exited(1, KILLED) == ["exited spot/0", "spawn 2"]
    assert script.texts["exited"] == "signal SIGKILL; another is started at once"
    slot = script.roster.slot("spot/0")
    assert (slot.restarts, slot.last_exit, slot.reason) == (1, "signal SIGKILL", "signal SIGKILL")
    script.ready(2)
    assert slot.reason is None


def test_a_second_death_waits():
    script = serving(service(backoff=4))
    script.exited(1)
    script.ready(2)
    assert script.exited(2, CRASH, "KeyError: 'x'") == ["exited spot/0"]
    assert script.texts["exited"] == "exit status 1: KeyError: 'x'; another is started in 3.0 s"
    assert script.state() == "backoff"
    assert script.roster.next_deadline() == script.now + 3
    assert script.later(2.9) == []
    assert script.later(0.1) == ["spawn 3"]
    assert script.roster.next_deadline() is None


def test_a_worker_that_never_was_ready_is_not_replaced_at_once():
    script = Script(service())
    script.forked(1)
    assert script.exited(1) == ["exited spot/0"]
    assert script.state() == "backoff"


def test_a_worker_that_does_not_become_ready_in_time_is_killed():
    script = Script(service(start_timeout=60))
    assert script.later(500) == []  # its forkserver may take its time to import
    script.forked(1)
    assert script.later(59) == []
    assert script.later(1) == ["kill 1"]
    assert script.exited(1, KILLED) == ["exited spot/0"]
    reason = script.roster.slot("spot/0").reason
    assert reason == "signal SIGKILL: killed, because it was not ready after 60 s"


def test_a_worker_may_start_for_ever():
    script = Script(service())
    script.forked(1)
    assert script.later(10**6) == []
    assert script.state() == "starting"


def test_too_many_deaths_are_the_end():
    script = Script(service(limit=3))
    for serial in (1, 2, 3):
        script.ready(serial)
        script.exited(serial)
        script.later(60)
    script.ready(4)
    assert script.exited(4, CRASH, "no disk") == ["exited spot/0", "failed spot/0"]
    assert script.state() == "failed"
    assert script.roster.next_deadline() is None
    reason = "4 deaths within 120 s of running, the last one: exit status 1: no disk"
    assert script.roster.slot("spot/0").reason == reason
    assert script.texts["failed"] == f"{reason}; to try again: zocaloctl start spot/0"


def test_deaths_outside_of_the_window_are_forgotten():
    script = Script(service(limit=2, window=100))
    for serial in range(1, 20):
        script.ready(serial)
        script.later(60)
        script.exited(serial)
        script.later(60)
    assert script.state() != "failed"
    assert len(script.roster.slot("spot/0").deaths) <= 3


def test_waiting_in_backoff_does_not_make_deaths_rarer():
    script = Script(service(limit=10, window=120, backoff=0.5, max_backoff=60))
    for serial in range(1, 11):
        script.ready(serial)
        script.exited(serial)
        script.later(60)
    script.ready(11)
    script.exited(11)
    assert script.state() == "failed"


@pytest.mark.parametrize(("policy", "exit_", "state"), [
    ("never", CRASH, "stopped"),
    ("never", OK, "stopped"),
    ("on-failure", OK, "stopped"),
    ("on-failure", CRASH, "starting"),
    ("always", OK, "starting"),
])  # fmt: skip
def test_policy(policy, exit_, state):
    script = serving(service(policy=policy))
    said = script.exited(1, exit_)
    assert said == (["exited spot/0"] if state == "stopped" else ["exited spot/0", "spawn 2"])
    assert script.state() == state
    if state == "stopped":
        assert script.roster.slot("spot/0").reason == (
            f"{exit_}; not replaced, as its restart policy is {policy}"
        )


def test_a_new_policy_counts_for_workers_that_run_already():
    script = serving(service(policy="always"))
    script.apply(service(policy="never"))
    script.exited(1)
    assert script.state() == "stopped"


def test_a_class_that_cannot_be_loaded_is_the_end_at_once():
    script = Script(service(instances=2))
    assert script.unloadable(1) == ["failed spot/0"]
    assert script.roster.slot("spot/0").reason == "no module named spots"
    assert script.state("spot/1") == "starting"
    assert script.unloadable(1) == []
    script.unloadable(2)
    assert script.roster.idle()
    assert script.up("spot/0") == ["spawn 3"]


def test_a_worker_that_could_not_be_forked_says_only_why():
    script = Script(service())
    script.exited(1, CRASH, "could not be forked: Cannot allocate memory")
    assert script.roster.slot("spot/0").last_exit == "could not be forked: Cannot allocate memory"


def test_events_of_unknown_workers_change_nothing():
    script = serving(service())
    assert script.exited(77) == script.forked(77) == script.ready(77) == script.unloadable(77) == []


# -- Start and stop


def test_stop_drains_and_says_so_once():
    script = serving(service())
    assert script.down("spot/0") == ["drain 1"]
    assert script.down("spot/0") == []
    assert script.state() == "draining"
    assert script.exited(1, OK) == ["exited spot/0", "stopped spot/0"]
    assert script.down("spot/0") == []
    assert script.roster.slot("spot/0").last_exit is None
    assert script.roster.idle()


def test_a_worker_that_does_not_stop_is_killed():
    script = serving(service(stop_timeout=30))
    script.down("spot/0")
    assert script.later(29.9) == []
    assert script.later(0.1) == ["kill 1"]
    assert script.later(1000) == []
    script.exited(1, KILLED)
    assert script.state() == "stopped"
    assert script.roster.slot("spot/0").last_exit == (
        "signal SIGKILL: killed, because it had not stopped after 30 s"
    )


def test_a_new_stop_timeout_counts_for_workers_that_run_already():
    script = serving(service(stop_timeout=30))
    script.apply(service(stop_timeout=3))
    script.down("spot/0")
    assert script.later(3) == ["kill 1"]


def test_stop_of_a_worker_that_was_not_forked_yet():
    script = Script(service(stop_timeout=30, start_timeout=5))
    assert script.down("spot/0") == ["drain 1"]
    script.forked(1)
    assert script.later(29) == []
    assert script.ready(1) == []  # too late
    assert script.state() == "draining"
    assert script.later(1) == ["kill 1"]


def test_a_worker_that_was_killed_is_neither_drained_nor_killed_again():
    script = Script(service(instances=2, start_timeout=60))
    for serial in (1, 2):
        script.forked(serial)
    assert script.later(60) == ["kill 1", "kill 2"]
    assert script.down("spot/0") == []
    assert script.renew("spot/1") == []
    assert script.roster.next_deadline() is None
    assert script.exited(1, KILLED) == ["exited spot/0", "stopped spot/0"]
    assert script.exited(2, KILLED) == ["exited spot/1", "spawn 3"]


def test_a_withdrawn_request_is_no_news():
    script = Script(service())
    script.down("spot/0")
    assert script.exited(1, OK) == ["stopped spot/0"]


def test_start_of_a_draining_instance_waits_for_its_end():
    script = serving(service())
    script.down("spot/0")
    assert script.up("spot/0") == []
    assert script.exited(1, OK) == ["exited spot/0", "spawn 2"]


def test_start_ends_backoff_and_stop_does_too():
    script = Script(service(instances=2, backoff=30))
    for serial in (1, 2):
        script.exited(serial)
    assert script.up("spot/0") == ["spawn 3"]
    assert script.down("spot/1") == ["stopped spot/1"]
    assert script.roster.next_deadline() is None
    assert script.later(100) == []


def test_restart_of_what_does_not_serve_is_direct():
    script = Script(service(instances=4, limit=0), service("rest", policy="never"))
    script.down("spot/1")
    script.exited(2, OK)
    script.exited(3)  # failed
    script.exited(5)
    assert [script.state(f"spot/{n}") for n in range(3)] == ["starting", "stopped", "failed"]
    assert script.renew("spot/0", "spot/1", "spot/2", "rest/0") == ["kill 1", "spawn 6", "spawn 7", "spawn 8"]
    script.forked(1)
    assert script.exited(1, KILLED) == ["exited spot/0", "spawn 9"]
    assert script.roster.slot("spot/0").last_exit is None  # that was asked for


# -- Rolling restart


def test_restart_keeps_serving():
    script = serving(service(instances=2))
    assert script.renew("spot/0", "spot/1") == ["spawn 3"]
    assert script.state() == "ready"
    assert script.ready(3) == ["started spot/0", "drain 1", "ready spot/0", "spawn 4"]
    assert script.ready(4) == ["started spot/1", "drain 2", "ready spot/1"]
    assert script.exited(1, OK) == ["exited spot/0"]
    assert script.exited(2, OK) == ["exited spot/1"]
    assert script.roster.slot("spot/0").current.serial == 3
    assert script.roster.slot("spot/0").restarts == 0


def test_a_restart_that_succeeds_forgets_the_deaths_of_old_workers():
    script = serving(service(limit=1))
    script.exited(1)
    script.ready(2)
    script.renew("spot/0")
    script.ready(3)
    script.exited(2, OK)
    assert script.exited(3) == ["exited spot/0", "spawn 4"]


def test_services_roll_beside_each_other():
    script = serving(service(), service("find"))
    assert script.renew("spot/0", "find/0") == ["spawn 3", "spawn 4"]


def test_a_retiring_worker_that_does_not_end_is_killed():
    script = serving(service(stop_timeout=30))
    script.renew("spot/0")
    script.ready(2)
    assert script.later(30) == ["kill 1"]
    assert script.exited(1, KILLED) == ["exited spot/0"]
    assert script.state() == "ready"
    assert "not stopped after 30 s" in script.roster.slot("spot/0").last_exit


def test_a_replacement_that_dies_leaves_the_old_worker_and_the_rest_alone():
    script = serving(service(instances=3))
    script.renew("spot/0", "spot/1", "spot/2")
    script.forked(4)
    assert script.exited(4, CRASH, "bad code") == ["exited spot/0", "kept spot/0"]
    assert script.texts["exited"] == "exit status 1: bad code; the old worker stays"
    assert "(exit status 1: bad code)" in script.texts["kept"]
    assert script.roster.slot("spot/0").current.serial == 1
    assert "spot/0 could not be replaced" in script.roster.slot("spot/2").reason
    assert script.roster.services["spot"].rolling == {}
    assert script.renew("spot/1") == ["spawn 5"]


def test_a_replacement_that_is_too_slow_is_killed():
    script = serving(service(start_timeout=60))
    script.renew("spot/0")
    script.forked(2)
    assert script.later(60) == ["kill 2", "kept spot/0"]
    assert script.exited(2, KILLED) == ["exited spot/0"]
    assert script.state() == "ready"


def test_a_replacement_has_a_limit_of_its_own():
    script = serving(service())
    script.renew("spot/0")
    script.forked(2)
    assert script.later(59) == []
    assert script.later(1) == ["kill 2", "kept spot/0"]


def test_a_replacement_that_takes_over_while_it_starts_may_start_for_ever():
    script = serving(service())
    script.renew("spot/0")
    script.forked(2)
    script.exited(1)
    assert script.later(10**6) == []
    assert script.state() == "starting"


def test_a_replacement_that_cannot_be_loaded():
    script = serving(service(instances=2))
    script.renew("spot/0", "spot/1")
    assert script.unloadable(3) == ["kept spot/0"]
    assert script.state() == "ready"


def test_the_old_worker_dies_while_its_replacement_starts():
    script = serving(service(instances=2))
    script.renew("spot/0", "spot/1")
    assert script.exited(1) == ["exited spot/0", "spawn 4"]  # the next one's turn
    slot = script.roster.slot("spot/0")
    assert (script.state(), slot.current.serial, slot.candidate, slot.restarts) == ("starting", 3, None, 1)
    assert script.ready(3) == ["started spot/0", "ready spot/0"]


def test_replacement_that_took_over_and_dies_counts_as_usual():
    script = serving(service(backoff=4))
    script.renew("spot/0")
    script.exited(1)
    assert script.exited(2) == ["exited spot/0"]
    assert script.state() == "backoff"
    assert script.roster.next_deadline() == script.now + 6  # the second death, and it was never ready


def test_stop_during_a_rolling_restart():
    script = serving(service(instances=3))
    script.renew("spot/0", "spot/1", "spot/2")
    script.forked(4)
    assert script.down("spot/0") == ["kill 4", "drain 1", "spawn 5"]
    assert script.exited(1, OK) == ["exited spot/0"]
    assert script.state() == "draining"  # its replacement still dies
    assert script.exited(4, KILLED) == ["exited spot/0", "stopped spot/0"]
    assert script.ready(5)[-1] == "spawn 6"


def test_stop_of_everything_during_a_rolling_restart():
    script = serving(service(instances=3))
    ids = ["spot/0", "spot/1", "spot/2"]
    script.renew(*ids)
    assert script.down(*ids) == ["kill 4", "drain 1", "drain 2", "drain 3"]


def test_stop_while_the_former_worker_still_finishes():
    script = serving(service(stop_timeout=30))
    script.renew("spot/0")
    script.ready(2)
    script.later(10)
    assert script.down("spot/0") == ["drain 2"]
    assert script.exited(2, OK) == ["exited spot/0"]
    assert script.state() == "draining"
    assert script.later(20) == ["kill 1"]
    assert script.exited(1, KILLED) == ["exited spot/0", "stopped spot/0"]


def test_stop_in_backoff_while_the_former_worker_still_finishes():
    script = Script(service(backoff=30))
    script.exited(1)
    script.later(30)
    script.ready(2)
    script.renew("spot/0")
    script.ready(3)
    script.exited(3)
    script.ready(4)
    script.exited(4)
    assert script.state() == "backoff"
    assert script.down("spot/0") == []
    assert script.state() == "draining"
    assert script.exited(2, OK) == ["exited spot/0", "stopped spot/0"]


def test_scale_down_during_a_rolling_restart():
    script = serving(service(instances=3))
    script.renew("spot/2", "spot/1", "spot/0")
    assert script.scale("spot", 2) == ["kill 4", "drain 3", "spawn 5"]
    assert script.spawned[5].instance == "spot/1"
    script.exited(4, KILLED)
    assert script.exited(3, OK) == ["exited spot/2", "stopped spot/2"]
    assert script.state("spot/2") is None


def test_a_second_restart_replaces_the_replacement():
    script = serving(service())
    script.renew("spot/0")
    script.forked(2)
    assert script.renew("spot/0") == ["kill 2"]
    assert script.exited(2, KILLED) == ["exited spot/0", "spawn 3"]
    script.ready(3)
    assert script.roster.slot("spot/0").current.serial == 3


def test_a_second_restart_waits_for_the_former_worker():
    script = serving(service())
    script.renew("spot/0")
    script.ready(2)
    assert script.renew("spot/0") == []
    assert script.exited(1, OK) == ["exited spot/0", "spawn 3"]
    assert script.ready(3) == ["started spot/0", "drain 2", "ready spot/0"]


def test_a_queued_instance_that_dies_is_not_restarted_again():
    script = serving(service(instances=2))
    script.renew("spot/0", "spot/1")
    assert script.exited(2) == ["exited spot/1", "spawn 4"]
    script.ready(4)
    assert script.ready(3) == ["started spot/0", "drain 1", "ready spot/0"]


# -- Scale and reload


def test_scale_up_again_while_the_instance_drains():
    script = serving(service(instances=2))
    assert script.scale("spot", 1) == ["drain 2"]
    assert script.scale("spot", 3) == ["spawn 3"]
    assert script.exited(2, OK) == ["exited spot/1", "spawn 4"]
    assert script.scale("spot", 3) == []


def test_an_instance_that_leaves_cannot_be_started_or_restarted():
    script = serving(service(instances=2))
    script.scale("spot", 1)
    assert script.up("spot/1") == script.renew("spot/1") == []
    assert script.exited(2, OK) == ["exited spot/1", "stopped spot/1"]
    assert script.state("spot/1") is None


def test_scale_leaves_stopped_instances_alone():
    script = serving(service())
    script.down("spot/0")
    script.exited(1, OK)
    assert script.scale("spot", 2) == ["spawn 2"]
    assert script.state() == "stopped"
    assert script.scale("spot", 0) == ["drain 2"]
    assert script.state() is None


def test_instances_stay_in_order():
    script = serving(service(instances=3))
    script.scale("spot", 1)
    script.exited(2, OK)
    script.scale("spot", 4)
    assert [slot.id for slot in script.roster.slots()] == ["spot/0", "spot/1", "spot/2", "spot/3"]


def test_reload_keeps_what_scale_did_unless_the_number_is_configured_anew():
    script = serving(service(instances=1))
    script.scale("spot", 3)
    assert script.apply(service(instances=1)) == []
    assert script.apply(service(instances=2)) == ["drain 3"]


def test_reload_removes_and_adds():
    script = serving(service(), service("find"))
    assert script.apply(service("find"), service("index")) == ["drain 1", "spawn 3"]
    assert list(script.roster.services) == ["find", "index", "spot"]
    assert script.scale("spot", 2) == []
    script.exited(1, OK)
    assert list(script.roster.services) == ["find", "index"]


def test_reload_takes_the_order_of_the_configuration():
    script = serving(service("a"), service("b"))
    script.apply(service("b"), service("a"))
    assert list(script.roster.services) == ["b", "a"]


def test_reload_removes_a_stopped_service_at_once():
    script = serving(service())
    script.down("spot/0")
    script.exited(1, OK)
    assert script.apply() == []
    assert script.roster.services == {}


def test_a_removed_service_comes_back_while_it_drains():
    script = serving(service(instances=2))
    script.apply()
    assert script.up("spot/0") == script.renew("spot/1") == []
    assert script.apply(service(nice=5)) == []
    assert script.exited(1, OK) == ["exited spot/0", "spawn 3"]
    assert script.spawned[3].service.nice == 5
    assert script.exited(2, OK) == ["exited spot/1", "stopped spot/1"]


def test_a_removed_service_comes_back_with_as_many_instances_as_before():
    script = serving(service(instances=2))
    script.apply()
    script.apply(service(instances=2))
    assert script.exited(1, OK) == ["exited spot/0", "spawn 3"]
    assert script.exited(2, OK) == ["exited spot/1", "spawn 4"]


def test_reload_restarts_what_has_changed_but_not_what_is_new():
    script = serving(service(), service("find"))
    words = script.apply(
        service(instances=2, nice=1), service("find"), service("new"), changed=["spot", "new"]
    )
    assert words == ["spawn 3", "spawn 4", "spawn 5"]
    assert [script.spawned[n].instance for n in (3, 4, 5)] == ["spot/1", "new/0", "spot/0"]
    assert script.ready(3)[-1] == "ready spot/1"
    assert script.spawned[5].service.nice == 1


def test_reload_of_a_changed_service_that_does_not_serve():
    script = Script(service(instances=5, limit=0, backoff=50))
    for serial in (1, 2, 3):
        script.ready(serial)
    script.apply(service(instances=5, limit=1, backoff=50))
    script.exited(4)  # backoff
    script.apply(service(instances=5, limit=0, backoff=50))
    script.exited(3)  # failed
    script.down("spot/1")
    script.exited(2, OK)  # stopped
    states = ["ready", "stopped", "failed", "backoff", "starting"]
    assert [script.state(f"spot/{n}") for n in range(5)] == states
    words = script.apply(service(instances=5, nice=1), changed=["spot"])
    assert words == ["spawn 6", "spawn 7", "kill 5", "spawn 8"]
    assert [script.spawned[n].instance for n in (6, 7, 8)] == ["spot/2", "spot/3", "spot/0"]
    assert script.state("spot/1") == "stopped"
    assert script.exited(5, OK) == ["spawn 9"]  # it had not even been forked


def test_changed_services_that_do_not_exist_are_ignored():
    assert serving(service()).apply(service(), changed=["gone"]) == []


def test_instances_are_found_by_their_exact_name():
    roster = serving(service(instances=2)).roster
    assert roster.slot("spot/1").number == 1
    for wrong in ("spot/01", "spot/²", "spot/" + "9" * 5000, "spot/", "spot", "nix/0", "spot/-1", "spot/2"):
        assert roster.slot(wrong) is None


# -- Waiting


def test_start_waits_until_ready():
    script = Script(service(instances=2))
    assert script.watch(1, "spot/0", "spot/1", up=True) == []
    script.ready(1)
    assert script.ready(2)[-1] == "finish 1"
    assert script.outcome(1) == {"spot/0": (True, ""), "spot/1": (True, "")}


def test_nothing_to_wait_for_is_over_at_once():
    script = serving(service())
    assert script.watch(1, up=True) == ["finish 1"]
    assert script.watch(2, "spot/0", up=True) == ["finish 2"]
    assert script.watch(3, "gone/0", up=False) == ["finish 3"]
    assert script.watch(4, "gone/0", up=True) == ["finish 4"]
    assert script.outcome(4) == {"gone/0": (False, "it does not exist any more")}


def test_a_first_death_before_ready_is_a_failure():
    script = Script(service())
    script.watch(1, "spot/0", up=True)
    script.forked(1)
    script.exited(1, CRASH, "no disk")
    assert script.outcome(1) == {"spot/0": (False, "exit status 1: no disk")}
    assert script.finished[1][0]["state"] == "backoff"


def test_a_class_that_cannot_be_loaded_is_a_failure():
    script = Script(service())
    script.watch(1, "spot/0", up=True)
    script.unloadable(1)
    assert script.outcome(1) == {"spot/0": (False, "no module named spots")}


def test_stop_waits_until_every_worker_has_ended():
    script = serving(service())
    script.renew("spot/0")
    script.ready(2)
    script.down("spot/0")
    script.watch(1, "spot/0", up=False)
    script.exited(2, OK)
    assert script.finished == {}
    script.exited(1, OK)
    assert script.outcome(1) == {"spot/0": (True, "")}


def test_restart_waits_for_the_replacement():
    script = serving(service(instances=2))
    script.renew("spot/0", "spot/1")
    script.watch(1, "spot/0", "spot/1", up=True)
    script.ready(3)
    assert script.finished == {}
    script.ready(4)
    assert script.outcome(1) == {"spot/0": (True, ""), "spot/1": (True, "")}


def test_a_restart_that_fails_tells_of_every_instance():
    script = serving(service(instances=3))
    script.renew("spot/0", "spot/1", "spot/2")
    script.watch(1, "spot/0", "spot/1", "spot/2", up=True)
    script.ready(4)
    script.exited(5)
    outcome = script.outcome(1)
    assert outcome["spot/0"] == (True, "")
    assert not outcome["spot/1"][0] and "did not become ready (exit status 1)" in outcome["spot/1"][1]
    assert outcome["spot/2"] == (False, "kept the old worker, because spot/1 could not be replaced")


def test_a_watch_ends_at_its_time():
    script = serving(service(instances=2))
    script.down("spot/0")
    script.renew("spot/1")
    script.watch(1, "spot/0", up=False, within=5)
    script.watch(2, "spot/1", up=True, within=5)
    assert script.later(4.9) == []
    assert script.later(0.1) == ["finish 1", "finish 2"]
    assert script.outcome(1) == {"spot/0": (False, "still draining after the time-out")}
    assert script.outcome(2) == {"spot/1": (False, "not replaced yet after the time-out")}
    script.exited(1, OK)
    script.ready(3)
    assert set(script.finished) == {1, 2}


def test_a_watch_that_has_finished_has_no_time():
    script = Script(service())
    script.watch(1, "spot/0", up=True, within=5)
    script.ready(1)
    assert script.roster.next_deadline() is None
    assert script.later(10) == []


def test_a_watch_that_nobody_waits_for_says_nothing():
    script = Script(service())
    script.watch(1, "spot/0", up=True, within=5)
    script.roster.unwatch(1)
    script.roster.unwatch(1)
    assert not script.roster._watches._waiting
    assert script.roster.next_deadline() is None
    script.watch(1, "spot/0", up=False)  # numbers may be used again
    assert script.finished.pop(1)
    script.ready(1)
    assert script.later(10) == []
    assert script.finished == {}


def test_contrary_commands_end_each_others_watches():
    script = Script(service())
    script.watch(1, "spot/0", up=True)
    assert script.down("spot/0") == ["drain 1", "finish 1"]
    assert script.outcome(1) == {"spot/0": (False, "it was stopped meanwhile")}
    script.watch(2, "spot/0", up=False)
    assert script.up("spot/0") == ["finish 2"]
    assert script.outcome(2) == {"spot/0": (False, "it was started meanwhile")}


def test_a_restart_ends_the_watch_of_a_stop():
    script = serving(service())
    script.down("spot/0")
    script.watch(1, "spot/0", up=False)
    assert script.renew("spot/0") == ["finish 1"]
    assert script.exited(1, OK) == ["exited spot/0", "spawn 2"]


def test_instances_that_vanish_end_every_watch():
    script = serving(service(instances=2))
    script.renew("spot/1")
    script.watch(1, "spot/1", up=True)
    script.scale("spot", 1)
    assert script.outcome(1) == {"spot/1": (False, "it does not exist any more")}
    script.watch(2, "spot/1", up=False)
    script.exited(3, KILLED)
    script.exited(2, OK)
    assert script.outcome(2) == {"spot/1": (True, "")}


def test_waiting_for_whatever_is_wanted():
    script = serving(service(instances=2), service("find"))
    script.scale("spot", 1)
    script.scale("find", 2)
    script.watch(1, "spot/1", "find/1", "gone/0", up=None)
    script.exited(2, OK)
    script.ready(4)
    assert script.outcome(1) == {"find/1": (True, ""), "gone/0": (True, ""), "spot/1": (True, "")}


def test_results_are_in_order():
    script = serving(service(instances=11))
    script.watch(1, "spot/10", "spot/9", "spot/0", up=True)
    assert [result["id"] for result in script.finished[1]] == ["spot/0", "spot/9", "spot/10"]


# -- Size


def test_thousands_of_instances_are_no_burden():
    script = Script(service(instances=2000))
    ids = [f"spot/{n}" for n in range(2000)]
    began = time.process_time()
    script.watch(1, *ids, up=True)
    for serial in range(1, 2001):
        script.ready(serial)
    assert 1 in script.finished
    script.renew(*ids)
    script.watch(2, *ids, up=True)
    for serial in range(2001, 4001):
        script.ready(serial)
        script.exited(serial - 2000, OK)
    assert 2 in script.finished
    script.down(*ids)
    script.watch(3, *ids, up=False)
    for serial in range(2001, 4001):
        script.exited(serial, OK)
    assert 3 in script.finished
    # 14,000 events and 6,000 commands: 0.2 s when none looks at the other instances, half a minute if all do
    assert time.process_time() - began < 3


# -- The limit for all restarts


def test_who_dies_beyond_the_limit_waits():
    script = serving(service(instances=200))
    for serial in range(1, 129):
        assert script.exited(serial, KILLED)[-1].startswith("spawn")
    assert script.exited(129, KILLED) == ["exited spot/128"]
    said = "signal SIGKILL; another is started in 0.0 s, as restarts are limited to 32 a second"
    assert script.texts["exited"] == said
    assert script.state("spot/128") == "backoff"
    assert script.reason("spot/128") == "signal SIGKILL; restarts are limited to 32 a second"
    for serial in range(130, 201):
        script.exited(serial, KILLED)
    assert script.roster.next_deadline() == script.now + 1.5 / 32
    assert len(script.later(1)) == 31
    assert len(script.later(10)) == 41
    assert script.reason("spot/128") == "signal SIGKILL"


def test_who_comes_back_from_backoff_is_limited_too():
    script = Script(service(instances=200, backoff=8))
    for serial in range(1, 201):
        script.exited(serial)
    assert len(script.later(6)) == 128
    assert script.state("spot/128") == "backoff"
    assert script.reason("spot/128") == "exit status 1; restarts are limited to 32 a second"
    assert len(script.later(10)) == 72


def test_first_starts_and_those_that_somebody_asks_for_are_not_limited():
    script = Script(service(instances=500))
    assert len(script.first) == 500
    for serial in range(1, 501):
        script.exited(serial)
    assert len(script.up(*[f"spot/{number}" for number in range(500)])) == 500


def test_a_worker_that_the_machine_has_no_room_for_is_never_given_up():
    script = Script(service(limit=1))
    for serial in range(1, 20):
        event = Exited(serial, CRASH, "could not be started: no descriptor left", refused=True)
        script.said(script.roster.handle(event, script.now))
        assert script.state() == "backoff"
        assert script.reason() == "could not be started: no descriptor left"
        assert script.later(REFUSED) == [f"spawn {serial + 1}"]
    script.ready(20)
    assert script.state() == "ready"
    assert "spawn 21" in script.exited(20, KILLED)  # the first death that counts
