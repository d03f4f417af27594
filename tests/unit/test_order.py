"""Scripts: services that come after others, when they start and when they stop."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from tests.rosterkit import CRASH, KILLED, OK, Script, service, serving

FIRST, SECOND, THIRD = service("a"), service("b", after=("a",)), service("c", after=("b",))


# -- Start


def test_a_service_starts_once_the_one_before_it_is_ready():
    script = Script(SECOND, FIRST)
    assert script.first == ["spawn 1"]
    assert script.spawned[1].instance == "a/0"
    assert (script.state("b/0"), script.reason("b/0")) == ("starting", "waits for a to be ready")
    assert script.forked(1) == ["started a/0"]
    assert script.ready(1) == ["ready a/0", "spawn 2"]
    assert script.spawned[2].instance == "b/0"
    assert (script.state("b/0"), script.reason("b/0")) == ("starting", None)
    script.ready(2)
    assert script.state("b/0") == "ready"


def test_one_after_the_other():
    script = Script(THIRD, SECOND, FIRST)
    assert script.reason("c/0") == "waits for b to be ready, which waits for a to be ready"
    assert script.ready(1)[-1] == "spawn 2"
    assert script.reason("c/0") == "waits for b to be ready"
    assert script.ready(2)[-1] == "spawn 3"
    assert script.ready(3) == ["started c/0", "ready c/0"]


def test_no_instance_may_be_in_its_first_start():
    script = Script(service("a", instances=2), service("b", instances=2, after=("a",)))
    assert script.ready(1) == ["started a/0", "ready a/0"]
    assert script.ready(2) == ["started a/1", "ready a/1", "spawn 3", "spawn 4"]


def test_one_instance_that_serves_is_enough_if_another_cannot():
    script = Script(service("a", instances=2), SECOND)
    script.ready(1)
    assert script.exited(2) == ["exited a/1", "spawn 3"]
    assert script.state("a/1") == "backoff"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "waits for a to be ready, which is in backoff"),
        ({"limit": 0}, "waits for a to be ready, which has failed"),
    ],
)
def test_the_reason_says_if_what_it_waits_for_does_not_come(more, reason):
    script = Script(service("a", **more), SECOND, THIRD)
    script.watch(1, "b/0", "c/0", up=True)
    assert script.exited(1)[-1] == "finish 1"
    assert script.reason("b/0") == reason
    assert script.reason("c/0") == f"waits for b to be ready, which {reason}"
    assert script.outcome(1) == {"b/0": (False, reason), "c/0": (False, script.reason("c/0"))}
    assert script.watch(2, "b/0", up=True) == ["finish 2"]
    script.up("a/0")
    assert script.reason("b/0") == "waits for a to be ready"
    assert script.ready(2)[-1] == "spawn 3"


def test_a_second_start_that_comes_by_itself_is_waited_for_as_well():
    script = Script(service("a"), SECOND)
    script.exited(1)
    assert script.later(60) == ["spawn 2"]
    assert script.reason("b/0") == "waits for a to be ready"
    assert script.ready(2) == ["started a/0", "ready a/0", "spawn 3"]


def test_instances_that_are_in_backoff_by_turns_are_as_good_as_all_in_backoff():
    """They never give up if the window has no room for as many deaths as the limit allows."""
    script = Script(service("a", instances=2, start_timeout=20.0, window=30.0), SECOND)
    script.watch(1, "b/0", up=True)
    script.forked(1)
    script.later(10)
    script.forked(2)
    script.later(10)
    script.exited(1, KILLED)
    assert script.later(1) == ["spawn 3"]
    assert script.reason("b/0") == "waits for a to be ready"  # the first start of the other may still succeed
    script.forked(3)
    script.later(9)
    assert script.exited(2, KILLED) == ["exited a/1", "finish 1"]
    assert (script.state("a/0"), script.state("a/1")) == ("starting", "backoff")
    said = "waits for a to be ready, which is in backoff"
    assert script.outcome(1) == {"b/0": (False, said)}
    assert script.later(1) == ["spawn 4"]
    assert script.ready(3)[-1] == "spawn 5"
    assert script.spawned[5].instance == "b/0"


def test_a_restart_at_once_is_waited_for_although_others_are_in_backoff():
    script = Script(service("a", instances=2), SECOND, service("c"))
    script.watch(1, "b/0", up=True)
    script.exited(2)
    script.later(60)
    script.ready(1)
    assert script.spawned[5].instance == "b/0"
    script.down("b/0")
    script.exited(5, OK)
    script.exited(4)
    assert script.exited(1) == ["exited a/0", "spawn 6"]
    script.up("b/0")
    assert script.watch(2, "b/0", up=True) == []
    assert script.reason("b/0") == "waits for a to be ready"


def test_an_instance_that_waits_in_vain_beside_one_that_serves():
    script = serving(FIRST, SECOND, THIRD)
    script.ready(2)
    script.ready(3)
    script.exited(1)
    script.unloadable(4)
    assert script.scale("b", 2) == []
    script.down("c/0")
    script.exited(3, OK)
    script.watch(1, "c/0", up=True)
    script.up("c/0")
    assert script.reason("b/1") == "waits for a to be ready, which has failed"
    reason = f"waits for b to be ready, which {script.reason('b/1')}"
    assert script.reason("c/0") == reason
    assert script.watch(2, "c/0", up=True) == ["finish 2"]
    assert script.outcome(2) == {"c/0": (False, reason)}
    assert script.up("a/0") == ["spawn 5"]
    assert script.reason("c/0") == "waits for b to be ready, which waits for a to be ready"
    assert script.ready(5)[-1] == "spawn 6"
    assert script.ready(6)[-1] == "spawn 7"


def test_what_is_not_wanted_is_not_waited_for():
    assert Script(service("a", instances=0), SECOND).first == ["spawn 1"]
    script = Script(FIRST, SECOND)
    assert script.down("a/0") == ["drain 1", "spawn 2"]
    assert script.spawned[2].instance == "b/0"
    script = Script(FIRST, SECOND)
    assert script.scale("a", 0) == ["drain 1", "spawn 2"]


def test_what_rests_by_its_policy_is_not_waited_for():
    script = Script(service("a", policy="on-failure"), SECOND)
    assert script.exited(1, OK) == ["exited a/0", "spawn 2"]


def test_a_restart_after_a_crash_does_not_wait():
    script = serving(FIRST, SECOND)
    script.ready(2)
    script.exited(1)
    assert script.state("a/0") == "starting"
    assert script.exited(2) == ["exited b/0", "spawn 4"]


def test_start_waits_too():
    script = serving(FIRST, SECOND)
    script.ready(2)
    script.down("a/0", "b/0")
    script.exited(2, OK)
    script.exited(1, OK)
    assert script.up("b/0", "a/0") == ["spawn 3"]
    script.watch(1, "b/0", up=True)
    script.ready(3)
    assert script.ready(4)[-1] == "finish 1"
    assert script.outcome(1) == {"b/0": (True, "")}


def test_stop_of_what_waits():
    script = Script(FIRST, SECOND)
    assert script.down("b/0") == ["stopped b/0"]
    assert script.watch(1, "b/0", up=False) == ["finish 1"]
    assert script.ready(1) == ["started a/0", "ready a/0"]


def test_start_and_restart_of_what_waits_change_nothing():
    script = Script(FIRST, SECOND)
    assert script.up("b/0") == []
    assert script.renew("b/0") == []
    script.watch(1, "b/0", up=True, within=5)
    assert script.later(5) == ["finish 1"]
    said = "still starting after the time-out: waits for a to be ready"
    assert script.outcome(1) == {"b/0": (False, said)}


def test_scale_down_and_removal_of_what_waits():
    script = Script(FIRST, service("b", instances=2, after=("a",)))
    assert script.scale("b", 1) == ["stopped b/1"]
    assert script.apply(FIRST) == ["stopped b/0"]
    assert list(script.roster.services) == ["a"]


def test_more_instances_of_what_serves_start_at_once():
    script = serving(FIRST, SECOND)
    script.ready(2)
    assert script.scale("b", 3) == ["spawn 3", "spawn 4"]


def test_a_reload_that_changes_the_order_of_what_waits():
    script = Script(FIRST, SECOND)
    assert script.apply(FIRST, service("b")) == ["spawn 2"]
    script = Script(FIRST, SECOND, service("z"))
    assert script.apply(FIRST, service("b", after=("z",)), service("z")) == []
    assert script.reason("b/0") == "waits for z to be ready"


def test_a_reload_that_brings_both():
    script = serving(service("z"))
    assert script.apply(SECOND, service("z"), FIRST) == ["spawn 2"]
    assert script.spawned[2].instance == "a/0"


def test_services_that_are_not_there_are_not_waited_for():
    assert Script(SECOND).first == ["spawn 1"]


# -- Stop


def ready() -> Script:
    script = serving(FIRST, SECOND, THIRD)
    script.ready(2)
    script.ready(3)
    return script


def test_stop_goes_the_other_way_round():
    script = ready()
    assert script.down("a/0", "b/0", "c/0") == ["drain 3"]
    script.watch(1, "a/0", up=False)
    assert (script.state("a/0"), script.reason("a/0")) == ("ready", "stops after b")
    assert (script.state("b/0"), script.reason("b/0")) == ("ready", "stops after c")
    assert script.exited(3, OK) == ["exited c/0", "stopped c/0", "drain 2"]
    assert script.exited(2, OK) == ["exited b/0", "stopped b/0", "drain 1"]
    assert script.exited(1, OK) == ["exited a/0", "stopped a/0", "finish 1"]
    assert script.roster.idle()


def test_stop_waits_for_nobody_who_stays():
    script = ready()
    assert script.down("a/0") == ["drain 1"]


def test_stop_waits_for_those_who_stop_already():
    script = ready()
    script.down("b/0")
    assert script.down("a/0") == []
    assert script.reason("a/0") == "stops after b"
    assert script.up("b/0") == ["drain 1"]


def test_stop_waits_for_every_instance_and_service():
    script = Script(FIRST, *(service(name, instances=2, after=("a",)) for name in "bcdef"))
    script.ready(1)
    for serial in range(2, 12):
        script.ready(serial)
    script.down(*[slot.id for slot in script.roster.slots()])
    assert script.reason("a/0") == "stops after b, c, d and 2 more"
    for serial in range(2, 11):
        assert script.exited(serial, OK)[-1].startswith("stopped")
    assert script.exited(11, OK)[-1] == "drain 1"


def test_start_of_what_waits_to_stop_lets_it_serve_until_there_is_a_new_worker():
    script = ready()
    script.down("a/0", "b/0", "c/0")
    script.watch(1, "a/0", up=False)
    assert script.up("a/0") == ["finish 1", "spawn 4"]
    assert (script.state("a/0"), script.reason("a/0")) == ("ready", None)
    script.exited(3, OK)
    assert script.exited(2, OK) == ["exited b/0", "stopped b/0"]
    assert script.ready(4) == ["started a/0", "drain 1", "ready a/0"]


def test_a_service_that_comes_back_while_it_waits_to_stop_runs_as_configured_now():
    script = ready()
    script.apply(service("z"))
    assert script.apply(service("a", nice=5), service("z")) == ["spawn 5"]
    assert script.spawned[5].service.nice == 5
    assert script.ready(5)[1:] == ["drain 1", "ready a/0"]


def test_restart_of_what_waits_to_stop():
    script = ready()
    script.down("a/0", "b/0", "c/0")
    assert script.renew("a/0") == ["spawn 4"]
    assert script.ready(4) == ["started a/0", "drain 1", "ready a/0"]


def test_stop_in_a_rolling_restart():
    script = ready()
    script.renew("a/0")
    assert script.down("a/0", "b/0", "c/0") == ["kill 4", "drain 3"]
    assert script.exited(4, KILLED) == []
    script.exited(3, OK)
    script.exited(2, OK)
    assert script.exited(1, OK) == ["exited a/0", "stopped a/0"]


def test_what_dies_while_it_waits_to_stop_is_not_replaced():
    script = ready()
    script.down("a/0", "b/0", "c/0")
    assert script.exited(1, CRASH) == ["exited a/0", "stopped a/0"]
    assert script.roster.slot("a/0").last_exit == "exit status 1"
    assert script.exited(3, OK)[-1] == "drain 2"


def test_what_dies_while_it_waits_to_stop_and_its_former_worker_finishes():
    script = ready()
    script.renew("a/0")
    script.ready(4)
    script.down("a/0", "b/0", "c/0")
    assert script.exited(4, CRASH) == ["exited a/0"]
    assert script.state("a/0") == "draining"
    assert script.exited(1, OK) == ["exited a/0", "stopped a/0"]


def test_what_waits_to_stop_is_not_recycled():
    script = ready()
    script.spent(1)
    assert script.exited(4) == ["exited a/0", "kept a/0"]
    script.down("a/0", "b/0", "c/0")
    assert script.later(29) == []
    assert script.spent(1) == []
    assert script.up("a/0") == ["spawn 5"]


def test_scale_down_of_both():
    script = ready()
    assert script.scale("b", 0) == ["drain 2"]
    assert script.scale("a", 0) == []
    assert script.exited(2, OK) == ["exited b/0", "stopped b/0", "drain 1"]


def test_removal_of_both():
    script = ready()
    assert script.apply(service("z")) == ["drain 3", "spawn 4"]
    assert script.exited(3, OK) == ["exited c/0", "stopped c/0", "drain 2"]
    assert script.exited(2, OK) == ["exited b/0", "stopped b/0", "drain 1"]
    script.exited(1, OK)
    assert list(script.roster.services) == ["z"]


def test_what_is_killed_all_at_once_ends_whatever_the_order():
    script = ready()
    script.down("a/0", "b/0", "c/0")
    script.exited(1, KILLED)
    script.exited(2, KILLED)
    script.exited(3, KILLED)
    assert script.roster.idle()
    assert [str(slot.state) for slot in script.roster.slots()] == ["stopped"] * 3


def test_what_starts_or_waits_for_a_timer_stops_at_once():
    script = Script(FIRST, SECOND)
    assert script.down("a/0", "b/0") == ["drain 1", "stopped b/0"]
    script = serving(FIRST, SECOND)
    script.ready(2)
    script.exited(1)
    script.ready(3)
    script.exited(3)
    assert script.down("a/0", "b/0") == ["stopped a/0", "drain 2"]


# -- Size


def test_a_long_row_of_services():
    names = [f"s{number}" for number in range(1000)]
    row = [service("s0", limit=0), *(service(b, after=(a,)) for a, b in pairwise(names))]
    began = time.process_time()
    script = Script(*reversed(row))
    script.watch(1, "s999/0", up=True)
    assert script.reason("s999/0") == "waits for s998 to be ready, which waits for s0 to be ready"
    script.exited(1)
    reason = "waits for s998 to be ready, which waits for s0 to be ready, which has failed"
    assert script.outcome(1) == {"s999/0": (False, reason)}
    script.up("s0/0")
    for serial in range(2, 102):
        assert script.ready(serial)[-1] == f"spawn {serial + 1}"
    assert time.process_time() - began < 4  # 0.4 s if a look at all that wait is as cheap as it should be


def test_hundreds_of_instances_that_come_after_hundreds():
    script = Script(service("b", instances=500, after=("a",)), service("a", instances=500))
    began = time.process_time()
    for serial in range(1, 1001):
        script.ready(serial)
    script.down(*[slot.id for slot in script.roster.slots()])
    for serial in [*range(501, 1001), *range(1, 501)]:
        script.exited(serial, OK)
    assert script.roster.idle()
    assert time.process_time() - began < 3  # 0.5 s: it grows with the square, but with a small factor
