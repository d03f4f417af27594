"""Broadcast commands: what they mean here; what surrounds a status; what zocaloctl makes of it all."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.rosterkit import Script, service, serving
from zocalo_daemon.brokers.base import Confirmed, Publication, Refused, Subscribed, SubscriptionFailed
from zocalo_daemon.client import cluster as client
from zocalo_daemon.control.cluster import meant
from zocalo_daemon.control.surroundings import surroundings
from zocalo_daemon.relay import cluster as relay
from zocalo_daemon.supervision.statuses import class_name


def stops(script: Script, **command: Any) -> list[str]:
    """Return the instances that a command means; host `vm`, classes Spot by its entry point SpotFinder."""
    names = {"spot": {"Spot", "SpotFinder"}, "other": {"Other"}}
    return meant(command, script.roster.slots(), "vm", lambda slot: names[slot.service.config.name])


@pytest.fixture
def script() -> Script:
    """Two services, with the pids that rosterkit gives them."""
    return serving(service(instances=2), service("other"))


def pid(script: Script, instance: str) -> int:
    slot = script.roster.slot(instance)
    assert slot and slot.current and slot.current.pid
    return slot.current.pid


def test_each_filter_of_a_command_must_match(script):
    """The row `commands`: host, service by class name and by entry-point name, and both."""
    first = f"vm.{pid(script, 'spot/0')}"
    assert stops(script, service="Spot") == stops(script, service="SpotFinder") == ["spot/0", "spot/1"]
    assert stops(script, host=first) == stops(script, host=f".{first}") == ["spot/0"]
    assert stops(script, host=first, service="Spot") == ["spot/0"]
    assert stops(script, host=first, service="Other") == []
    assert stops(script, host="vm") == stops(script, host=f"x.{first}") == stops(script, service="spot") == []


def test_what_is_stopped_already_or_only_finishes_is_not_meant(script):
    script.down("spot/0")
    assert stops(script, service="Spot") == ["spot/1"]
    old = pid(script, "spot/1")
    script.renew("spot/1")
    assert stops(script, host=f"vm.{old}") == ["spot/1"]


def test_what_crashes_all_the_time_can_be_stopped_too():
    script = serving(service(backoff=4))
    script.exited(1)
    assert stops(script, service="Spot") == ["spot/0"]


@pytest.mark.parametrize(
    ("said", "name"), [({"class": "a.b:C"}, "C"), ({"class": "a:B.C"}, "C"), ({"error": "x"}, ""), ({}, "")]
)
def test_a_class_goes_by_its_own_name(said, name):
    assert class_name(said) == name


def test_what_zocalo_adds_comes_from_the_environment(tmp_path: Path):
    """The row `status broadcast`: zocalo, cluster_JOB_ID, cluster_SGE_CELL, container_…."""
    assert list(surroundings({})) == ["zocalo"]
    assert "cluster_SGE_CELL" not in surroundings({"SGE_CELL": "one"})
    found = surroundings({"JOB_ID": "17", "SGE_CELL": "one", "SGE_JOB_SPOOL_DIR": str(tmp_path)})
    assert (found["cluster_JOB_ID"], found["cluster_SGE_CELL"]) == ("17", "one")
    (tmp_path / "config").write_text("A=b\nsge_cell=two\n")
    assert surroundings({"JOB_ID": "17", "SGE_JOB_SPOOL_DIR": str(tmp_path)})["cluster_SGE_CELL"] == "two"
    found = surroundings({"ZOCALO_CONTAINER_IMAGE": "i", "ZOCALO_CONTAINER_NODE": "n"})
    assert (found["container_image"], found["container_node"]) == ("i", "n")


# -- The relay


class FakeMember:
    """A transport that keeps what it is asked for; `away` is its state."""

    def __init__(self) -> None:
        self.name = "rabbit"
        self.state = "connected"
        self.sent: list[tuple[Publication, Any]] = []
        self.listeners: dict[str, Any] = {}
        self.asked: list[str] = []
        self.broker = SimpleNamespace(status=lambda: SimpleNamespace(state=self.state))
        self.consumers = SimpleNamespace(listen=self.listen)

    def listen(self, source: Any, hear: Any) -> None:
        self.listeners[source.name] = hear
        self.asked.append(source.name)

    def announce(self, publication: Publication, answer: Any) -> None:
        self.sent.append((publication, answer))


def status(number: int) -> dict[str, Any]:
    return {"host": f"vm.{number}", "status": 2}


def place_of(member: FakeMember) -> relay.Place:
    """Return a place that listens."""
    place = relay.Place(member, lambda *_: None)
    place.listen(0.0)
    return place


def test_a_status_is_broadcast_as_workflows_does():
    member = FakeMember()
    place_of(member).tell([status(n) for n in range(5)], 0.0)
    assert len(member.sent) == 5
    publication, _ = member.sent[0]
    assert (publication.destination, publication.expiration) == ("transient.status", 15.0)
    assert json.loads(publication.body) == status(0)


def test_a_status_waits_for_nobody():
    member = FakeMember()
    place = place_of(member)
    member.state = "connecting"
    place.tell([status(1)], 0.0)
    assert not member.sent
    member.state = "connected"
    for number in range(30):  # a broker that confirms nothing
        place.tell([status(n) for n in range(100)], 2.0 + number)
    assert len(member.sent) == relay.MOST_OPEN


def test_what_is_missing_is_said_once_and_tried_again_rarely(caplog, monkeypatch):
    member, now = FakeMember(), 1000.0
    monkeypatch.setattr(relay.time, "monotonic", lambda: now)
    place = relay.Place(member, lambda *_: None)
    for _ in range(900):
        place.listen(now)
        place.tell([status(1)], now)
        for topic in ("transient.status", "command"):
            member.listeners.pop(topic, lambda _: None)(SubscriptionFailed(1, f"no exchange '{topic}'"))
        now += 1.0
    assert len(member.sent) == 3, "one at each attempt to listen, before that is known to fail"
    assert sorted(member.asked) == ["command"] * 3 + ["transient.status"] * 3
    assert len(caplog.records) == 2
    assert "tried again every 5 minutes" in caplog.text
    assert "neither told nor heard: no exchange 'transient.status'" in place.trouble
    assert "commands are not heard" in place.trouble
    now += 300.0
    place.listen(now)
    for topic in ("transient.status", "command"):
        member.listeners[topic](Subscribed(1, topic))
    assert place.trouble == ""
    place.tell([status(1)], now)
    assert len(member.sent) == 4


def test_who_may_not_tell_statuses_is_silent_for_a_while(caplog, monkeypatch):
    member, now = FakeMember(), 1000.0
    monkeypatch.setattr(relay.time, "monotonic", lambda: now)
    place = place_of(member)
    for _ in range(900):
        before = len(member.sent)
        place.tell([status(1)], now)
        for _, answer in member.sent[before:]:
            answer(Refused(1, "invalid", "not allowed"))
        now += 1.0
    assert len(member.sent) == 3
    assert len(caplog.records) == 1
    assert place.trouble == "statuses are not told: not allowed"
    now += 300.0
    place.tell([status(1)], now)
    member.sent[-1][1](Confirmed(1))
    assert place.trouble == ""


class FakePool:
    """One transport."""

    def __init__(self, member: FakeMember) -> None:
        self._member = member

    def __iter__(self) -> Any:
        return iter([self._member])

    def __contains__(self, name: str) -> bool:
        return name == self._member.name

    def get(self, _name: str) -> FakeMember:
        return self._member


def test_what_stays_the_same_is_repeated_until_there_is_something_else(monkeypatch):
    """The row `status broadcast`: at least every 6 s."""
    member, now = FakeMember(), 1000.0
    monkeypatch.setattr(relay.time, "monotonic", lambda: now)
    subject = relay.Cluster(FakePool(member), lambda _report: None)
    told = [{"transport": "", "status": status(1)}, {"transport": "", "status": status(2)}]
    subject.tell(told, aloud=True)
    assert subject.timeout(now) is None
    subject.tell(told, aloud=True, repeat=True)
    for _ in range(3):
        wait = subject.timeout(now)
        assert wait is not None and 5 < wait < 6
        before = len(member.sent)
        subject.poll(now + wait - 0.1)
        assert len(member.sent) == before
        now += wait
        subject.poll(now)
        assert len(member.sent) == before + 2
    subject.tell([], aloud=True)
    assert subject.timeout(now) is None
    subject.poll(now + 100)
    assert len(member.sent) == 10


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ({"command": "shutdown", "host": "a"}, {"host": "a"}),
        ({"command": "shutdown", "service": "A", "more": 1}, {"service": "A"}),
        ({"command": "shutdown", "host": "a", "service": "A"}, {"host": "a", "service": "A"}),
        ({"command": "shutdown"}, None),
        ({"command": "shutdown", "service": None}, None),
        ({"command": "shutdown", "host": "a", "service": None}, None),
        ({"command": "shutdown", "host": ["a"]}, None),
        ({"command": "restart", "host": "a"}, None),
        ({"host": "a"}, None),
        (["shutdown"], None),
        ("x" * 5000, None),
    ],
)
def test_what_is_no_command_with_a_filter_is_ignored(body, command):
    found = relay._command(json.dumps(body).encode())
    assert found == (command and {"command": "shutdown", **command})
    assert relay._command(b"\xff no JSON") is None


# -- zocaloctl


@pytest.mark.parametrize(
    ("host", "here", "full"),
    [
        ("ws1.47", "ws2.site.ac.uk", "uk.ac.site.ws1.47"),
        ("uk.ac.site.ws1.47", "ws2.site.ac.uk", "uk.ac.site.ws1.47"),
        ("vm.47", "vm", "vm.47"),
    ],
)
def test_hosts_are_named_as_for_zocalo_shutdown(host, here, full):
    assert client.full_host(host, here) == full


def test_the_table_says_who_is_silent_and_what_is_not_heard():
    busy = {"host": "a.b.1", "status": 4, "statustext": "processing", "service": "S", "serviceclass": "Sc"}
    services = [
        {**busy, "utilization": {"4": 0.5, "3": 0.25, "2": 0.25}, "seen_s": 1.0},
        {"host": "a.c.2", "status": -1, "seen_s": 40.0},
    ]
    document = {
        "services": services,
        "listening_s": 2.0,
        "transports": [{"name": "rabbit", "trouble": "no exchange"}, {"name": "other", "trouble": ""}],
    }
    lines = client.render(document, None, colour=False)
    assert lines[0] == "2 services on 2 hosts"
    assert lines[3].split() == ["a.b.1", "S", "Sc", "processing", "75%", "1.0s"]
    assert lines[4].split() == ["a.c.2", "none", "-1", "40s", "silent"]
    assert "rabbit: no exchange" in lines
    assert "listens since 2.0s: services tell their status every 6 s" in lines
    assert client.chosen(services, ["S*"]) == services[:1]
    assert client.chosen(services, ["*.c.*", "a.b.1"]) == services
