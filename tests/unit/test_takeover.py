"""Nothing that the supervisor remembers is forgotten in a handover."""

from __future__ import annotations

import selectors
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from tests.rosterkit import Script, service, serving
from zocalo_daemon.control import takeover
from zocalo_daemon.control.connection import Connection
from zocalo_daemon.control.operations import Operations, Sources
from zocalo_daemon.control.reload import Reload
from zocalo_daemon.supervision import handover, plain
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.guard import Guard
from zocalo_daemon.supervision.helpers import Helpers
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster

NOBODY: Any = None  # a part that is not asked for anything
HELPERS = Helpers(
    NOBODY, NOBODY, premises=NOBODY, forkserver_argv=NOBODY, after=NOBODY, say=NOBODY, announce=NOBODY
)
GUARD = Guard(NOBODY, helpers=NOBODY, services=NOBODY, after=NOBODY, report=NOBODY, tell=NOBODY)
OPERATIONS = Operations(SimpleNamespace(version=None, reload=None, reexec=None))


@pytest.mark.parametrize(
    ("owner", "anew"),
    [
        (Figures(lambda: 0.0), "clock processes"),
        # Besides what it works on: nothing is stopped, and nothing renewed, while the code is replaced.
        (HELPERS, "relays fleet premises forkserver_argv after say announce stopping renewing"),
        (GUARD, "fleet helpers services after report tell armed"),
        # What is waited for comes back with the requests of the clients.
        (OPERATIONS, "parts watching handlers forwarded"),
        (Reload(NOBODY, dict), "host load request loaded moving unmoved candidates attempts"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_attribute_is_handed_over_or_known_to_be_made_anew(owner, anew):
    assert {name.lstrip("_") for name in vars(owner)} == {
        *(name.lstrip("_") for name in owner.CARRIED),
        *anew.split(),
    }


def test_those_who_hand_over_themselves_have_no_attribute_that_they_forget():
    """Whoever adds one must see to `hand_over` and `take_over`, and then to this."""
    relay = Relay(NOBODY, NOBODY, on_ready=NOBODY, on_end=NOBODY, on_figures=NOBODY)
    given = "selector log on_ready on_end on_figures on_command index name"
    kept = "pid state trouble number pidfd link pipe decoder output requests"
    over = "once"  # is waited for before
    assert {name.lstrip("_") for name in vars(relay)} == {*given.split(), *kept.split(), over}
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        connection = Connection(
            ours, selector, NOBODY, NOBODY, version="", handler=NOBODY, log=NOBODY, on_close=NOBODY
        )
    given = "sock selector version handler log on_close events closed"
    kept = "peer rights greeted decoder frames received requests output refusals pieces"
    assert {name.lstrip("_") for name in vars(connection)} == {*given.split(), *kept.split()}


def copy(roster: Roster) -> Roster:
    """Return what the new code has of a roster."""
    state = plain.load(plain.dump(handover.states(roster.parts()), takeover.TYPES), takeover.TYPES)
    other = Roster(lambda: 0.5)
    handover.set_states(other.parts(), state)
    return other


def test_every_part_of_the_roster_is_named():
    roster = Roster(lambda: 0.5)
    parts = list(roster.parts().values())
    others = [value for value in vars(roster).values() if type(value).__module__.startswith("zocalo_daemon")]
    assert all(any(value is part for part in parts) for value in others)


def test_a_roster_goes_on_where_the_old_one_was():
    script = serving(service(instances=2))
    script.renew("spot/0")
    script.watch(1, "spot/0", up=True, within=100)
    script.exited(2)
    script.roster = copy(script.roster)
    assert script.state("spot/0") == "ready"
    assert "ready spot/0" in script.ready(3)
    assert script.outcome(1) == {"spot/0": (True, "")}


def test_timers_run_out_when_they_would_have():
    script = serving(service(backoff=4))
    for serial in (1, 2):
        script.exited(serial)
        script.forked(serial + 1)
    assert script.state() == "backoff"
    due = script.roster.next_deadline()
    script.roster = copy(script.roster)
    assert script.roster.next_deadline() == due
    assert script.later(due - script.now)


def test_a_second_handover_says_the_same():
    script = Script(service(instances=3), service("other", instances=2))
    script.scale("spot", 1)
    script.watch(1, "other/0", up=True)
    first = plain.dump(handover.states(script.roster.parts()), takeover.TYPES)
    second = plain.dump(handover.states(copy(script.roster).parts()), takeover.TYPES)
    assert first == second


def test_followers_are_told_of_the_same_sources():
    every, some = Sources(frozenset("*"), frozenset()), Sources(frozenset({"relay", "a/1"}), frozenset("b"))
    assert every("anything")
    assert [name for name in ("relay", "a/0", "a/1", "b/7", "zocalod") if some(name)] == [
        "relay",
        "a/1",
        "b/7",
    ]
