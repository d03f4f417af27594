"""What services of sites do, in the real daemon; the row "services in the wild" of the compatibility."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

CLASSES = ("Watcher", "Endless", "Pairing", "Packed", "Whole")


@pytest.fixture(scope="module")
def d(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("wild")
    site = directory / "site.yaml"
    site.write_text("version: 1\nenvironments: {live: [s]}\ns: {plugin: storage, place: here}\n")
    services: dict[str, Any] = {name.lower(): {"class": f"wild:{name}"} for name in CLASSES}
    services["endless"]["stop_timeout"] = "0.2s"
    services["whole"] |= {"verbose": True, "environment": {"more": 1}}
    daemon = Daemon(
        directory, services, site=str(site), site_environment="live", relay={"clients": "user"}
    ).start(ready=False)
    for name in CLASSES:
        daemon.wait_state(f"{name.lower()}/0", "starting" if name == "Endless" else "ready")
    yield daemon
    daemon.close()


@pytest.fixture
def transport(d: Daemon) -> Iterator[RelayTransport]:
    made = RelayTransport()
    made._socket_path = d.directory / "relay.sock"
    made.connect()
    yield made
    made.disconnect()


def heard(transport: RelayTransport, queue: str) -> list[Any]:
    """Return a list that grows with what arrives."""
    found: list[Any] = []
    transport.subscribe(queue, lambda header, message: found.append(message))
    return found


def test_checkpoints_with_a_delay_in_a_transaction(d: Daemon, transport: RelayTransport) -> None:
    recipe = {"1": {"queue": "watch", "output": 2}, "2": {"queue": "watched"}, "start": [[1, []]]}
    envelope = {"recipe": recipe, "recipe-pointer": 1, "recipe-path": [], "environment": {"ID": "r-1"}}
    arrived = heard(transport, "watched")
    for mark in ("True", "true", True, 1):  # as JSON and brokers write it
        transport.send("watch", {**envelope, "payload": {}}, headers={"workflows-recipe": mark})
    wait_until(lambda: len(arrived) == 4, "four recipes at their end")
    assert [one["payload"] for one in arrived] == [{"seen": 3}] * 4
    assert arrived[0]["environment"] == {"ID": "r-1"} and arrived[0]["recipe-path"] == [1]


def test_a_service_that_never_leaves_initializing(d: Daemon, transport: RelayTransport) -> None:
    arrived = heard(transport, "endless")
    wait_until(lambda: len(arrived) > 3, "what it sends")
    assert d.instance("endless/0")["state"] == "starting"
    d.ctl("stop", "endless")
    assert d.instance("endless/0")["state"] == "stopped"


def test_one_message_is_held_until_the_second_comes(d: Daemon, transport: RelayTransport) -> None:
    arrived = heard(transport, "pairs")
    transport.send("pair", 1)
    wait_until(lambda: d.instance("pairing/0")["in_flight"] == 1, "the first one in hand")
    transport.send("pair", 2)
    wait_until(lambda: arrived == [[1, 2]], "both")
    wait_until(lambda: d.instance("pairing/0")["in_flight"] == 0, "both settled")


def test_msgpack_instead_of_json(d: Daemon, transport: RelayTransport) -> None:
    arrived = heard(transport, "unpacked")
    transport.raw_send("packed", msgpack.packb({"image": [1, 2]}))
    wait_until(lambda: arrived == [{"image": [1, 2]}], "what was packed")


def test_all_that_common_service_offers(d: Daemon, transport: RelayTransport) -> None:
    arrived = heard(transport, "found")
    wait_until(lambda: arrived, "what it has found")
    found = arrived.pop(0)
    assert (found["name"], found["storage"], found["live"]) == ("the whole of it", "here", True)
    assert {"config", "live", "more"} <= set(found["environment"])
    assert found["kwargs"] == {"verbose_log": True} and found["verbosity"] <= 10
    wait_until(lambda: "extended" in d.ctl("logs", "whole").stdout, "its line")
    for ends, message in enumerate(("shutdown", "terminate"), 1):
        transport.send("whole", message)
        wait_until(lambda n=ends: arrived.count("in_shutdown") == n, "its end")
        d.wait_state("whole/0", "ready")


def test_none_of_it_is_a_crash(d: Daemon) -> None:
    """But for the one that had to be killed to stop."""
    crashed = {one["id"] for one in d.events() if one["event"] == "crashed"}
    assert crashed <= {"endless/0"}, d.stderr()
    assert json.loads(d.ctl("--json", "dlq", "list").stdout) == []
