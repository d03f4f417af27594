"""What a command means for the roster."""

from __future__ import annotations

import math

import pytest

from tests.rosterkit import OK, service, serving
from zocalo_daemon.control import commands
from zocalo_daemon.errors import NoSuchService, UsageError


def carry_out(script, op, args):
    """Apply a plan; return it, what was done and which instances are waited for."""
    plan = commands.plan(op, args, script.roster)
    said = script.said(plan.change(script.now))
    return plan, said, plan.instances()


def test_start_stop_and_restart():
    script = serving(service(instances=2))
    plan, said, waited = carry_out(script, "stop", {"targets": ["spot/1"]})
    assert (said, waited, plan.up, plan.wait, plan.timeout) == (["drain 2"], ["spot/1"], False, True, None)
    script.exited(2, OK)
    plan, said, waited = carry_out(script, "start", {"targets": ["spot"], "wait": False, "timeout": 3})
    assert (said, waited, plan.up, plan.wait, plan.timeout) == (
        ["spawn 3"],
        ["spot/0", "spot/1"],
        True,
        False,
        3,
    )
    plan, said, waited = carry_out(script, "restart", {"targets": ["spot/0"], "timeout": 2.5})
    assert (said, waited, plan.up, plan.timeout) == (["spawn 4"], ["spot/0"], True, 2.5)


def test_nothing_changes_before_the_plan_is_carried_out():
    script = serving(service())
    for op, args in [("stop", {"targets": ["all"]}), ("scale", {"sizes": {"spot": 0}})]:
        commands.plan(op, args, script.roster)
        assert script.state() == "ready"


def test_instances_that_leave_are_stopped_but_not_started():
    script = serving(service(instances=2))
    script.scale("spot", 1)
    assert carry_out(script, "stop", {"targets": ["all"]})[2] == ["spot/0", "spot/1"]
    assert carry_out(script, "start", {"targets": ["all"]})[2] == ["spot/0"]
    with pytest.raises(NoSuchService, match=r"spot/1 is being removed .* zocaloctl scale spot=2"):
        commands.plan("restart", {"targets": ["spot/1"]}, script.roster)
    script.apply()
    with pytest.raises(NoSuchService, match="service spot was removed from the configuration"):
        commands.plan("start", {"targets": ["spot"]}, script.roster)
    with pytest.raises(NoSuchService, match="service spot was removed from the configuration"):
        commands.plan("scale", {"sizes": {"spot": 1}}, script.roster)


def test_scale_waits_for_what_starts_and_for_what_leaves():
    script = serving(service("up"), service("down", 3), service("same", 2))
    args = {"sizes": {"up": 3, "down": 1, "same": 2}}
    plan, said, waited = carry_out(script, "scale", args)
    assert said == ["spawn 7", "spawn 8", "drain 3", "drain 4"]
    assert waited == ["up/1", "up/2", "down/1", "down/2"]
    assert plan.up is None
    script.watch(1, *waited, up=plan.up)
    for serial in (7, 8):
        script.ready(serial)
    script.exited(3, OK)
    assert script.finished == {}
    script.exited(4, OK)
    assert all(ok for ok, _ in script.outcome(1).values())


def test_scale_up_again_waits_for_instances_that_still_drain():
    script = serving(service(instances=3))
    script.scale("spot", 1)
    _, said, waited = carry_out(script, "scale", {"sizes": {"spot": 2}})
    assert said == []
    assert waited == ["spot/1", "spot/2"]


def test_scale_counts_instances_that_vanish_at_once():
    script = serving(service(instances=2))
    script.down("spot/1")
    script.exited(2, OK)
    assert carry_out(script, "scale", {"sizes": {"spot": 1}})[2] == ["spot/1"]
    assert script.state("spot/1") is None


def test_scale_takes_patterns():
    script = serving(service("spotfind"), service("spotcount"), service("index"))
    assert carry_out(script, "scale", {"sizes": {"spot*": 2}})[2] == ["spotfind/1", "spotcount/1"]
    assert carry_out(script, "scale", {"sizes": {"all": 0, "index": 1}})[2][:2] == [
        "spotfind/0",
        "spotfind/1",
    ]
    assert script.state("index/0") == "ready"


@pytest.mark.parametrize(
    ("op", "args", "error", "text"),
    [
        ("start", {}, UsageError, "say which services to start; 'all' means every one"),
        ("stop", {"targets": "spot"}, UsageError, "targets must be a list of names"),
        ("stop", {"targets": ["nix"]}, NoSuchService, "no such service: nix"),
        ("stop", {"targets": ["spot"], "wait": 1}, UsageError, "wait must be true or false"),
        ("scale", {}, UsageError, "say how many: scale SERVICE=N"),
        ("scale", {"sizes": []}, UsageError, "say how many"),
        ("scale", {"sizes": {1: 1}}, UsageError, "sizes must be a map with names as keys"),
        (
            "scale",
            {"sizes": {"spot": -1}},
            UsageError,
            "spot=-1: the number of instances goes from 0 to 2000",
        ),
        ("scale", {"sizes": {"spot": 2001}}, UsageError, "goes from 0 to 2000"),
        ("scale", {"sizes": {"spot": True}}, UsageError, "goes from 0 to 2000"),
        ("scale", {"sizes": {"spot": "2"}}, UsageError, "goes from 0 to 2000"),
        (
            "scale",
            {"sizes": {"spot/0": 2}},
            NoSuchService,
            "spot/0 is an instance; only a service can be scaled",
        ),
        ("scale", {"sizes": {"spto": 2}}, NoSuchService, "did you mean spot"),
    ],
)
def test_bad_arguments_are_explained(op, args, error, text):
    script = serving(service())
    with pytest.raises(error) as caught:
        commands.plan(op, args, script.roster)
    assert text in caught.value.message


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, 1e300, True, "5", b"5"])
def test_times_are_finite_numbers(wrong):
    script = serving(service())
    with pytest.raises(UsageError, match="timeout must be a number of seconds from 0 to 604800"):
        commands.plan("stop", {"targets": ["all"], "timeout": wrong}, script.roster)
    with pytest.raises(UsageError, match="delay must be a number of seconds"):
        commands.publication("queue", {"queue": "q", "body": b"", "delay": wrong})
    assert commands.seconds_of({"timeout": 0}, "timeout", 5) == 0
    assert commands.seconds_of({}, "timeout", 5) is None


def test_counts():
    assert commands.count_of({}, "lines", 100, 1000) == 100
    assert commands.count_of({"lines": 0}, "lines", 100, 1000) == 0
    for wrong in (-1, 1001, True, "5", 1.0):
        with pytest.raises(UsageError, match="lines must be a number from 0 to 1000"):
            commands.count_of({"lines": wrong}, "lines", 100, 1000)


def test_publication():
    args = {"queue": "q", "body": b"{}", "headers": {"a": 1}, "transport": "rabbit", "delay": 2, "more": 1}
    assert commands.publication("queue", args) == {
        "kind": "queue",
        "destination": "q",
        "headers": {"a": 1},
        "body": b"{}",
        "transport": "rabbit",
        "delay": 2,
        "expiration": None,
    }
    assert commands.publication("queue", {**args, "ignore_namespace": True})["ignore_namespace"] is True


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({}, "say to which topic"),
        ({"topic": ""}, "say to which topic"),
        ({"topic": 1}, "say to which topic"),
        ({"topic": "t", "body": "{}"}, "body must be bytes"),
        ({"topic": "t", "body": b"", "headers": [1]}, "headers must be a map"),
        ({"topic": "t", "body": b"", "headers": {1: 1}}, "headers must be a map"),
        ({"topic": "t", "body": b"", "transport": 1}, "transport must be a name"),
    ],
)
def test_bad_publications_are_explained(args, text):
    with pytest.raises(UsageError, match=text):
        commands.publication("topic", args)
