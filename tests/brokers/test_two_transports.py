"""A script with callbacks on two transports, each of which sends on the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.conftest import Inbox
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

Both = tuple[RelayTransport, RelayTransport]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    transports = [{"name": name, "driver": "memory"} for name in ("default", "far")]
    relay = RelayProcess(tmp_path, transports=transports)
    yield relay
    relay.close()


@pytest.fixture
def both(relay: RelayProcess) -> Iterator[Both]:
    made = [RelayTransport.for_worker(relay.path, "", name) for name in ("", "far")]
    for one in made:
        assert one.connect()
    yield made[0], made[1]
    for one in made:
        one.disconnect()


def crossing(here: RelayTransport, there: RelayTransport, meet: threading.Barrier, queue: str = "out"):
    """Return a callback that sends on the other transport while that one's does the same."""

    def callback(header: dict, message: int) -> None:
        if message == 0:
            meet.wait(20)
        there.send(queue, message)
        here.ack(header)

    return callback


def test_callbacks_that_send_across_do_not_wait_for_each_other_for_ever(relay: RelayProcess, both: Both):
    near, far = both
    meet = threading.Barrier(2)
    outs = [Inbox(), Inbox()]
    near.subscribe("in", crossing(near, far, meet), acknowledgement=True)
    far.subscribe("in", crossing(far, near, meet), acknowledgement=True)
    feeders = [RelayTransport.for_worker(relay.path, "", name) for name in ("", "far")]
    for feeder in feeders:
        feeder.connect()
        for number in range(50):
            feeder.send("in", number)
        feeder.disconnect()
    third, fourth = outs
    near.subscribe("out", third)
    far.subscribe("out", fourth)
    for one in outs:
        one.wait(50)
        assert one.messages == list(range(50))
    wait_until(lambda: near.in_hand() + far.in_hand() == 0, "all settled")


def test_the_death_of_the_relay_in_between_is_only_a_delay(relay: RelayProcess, both: Both):
    near, far = both
    begun, go, done = threading.Event(), threading.Event(), []

    def callback(header: dict, message: int) -> None:
        begun.set()
        assert go.wait(20)
        far.send("out", message)  # waits for a relay
        done.append(header["redelivered"])

    near.subscribe("in", callback)
    near.send("in", 1)
    assert begun.wait(20)
    relay.kill()
    go.set()
    relay.start()
    wait_until(lambda: done, "the end of the callback")
    assert relay.request("queues", transport="far", patterns=["out"])["ok"][0]["ready"] == 1


def test_what_is_refused_across_is_an_error(both: Both):
    near, far = both
    raised: list[str] = []

    def callback(header: dict, message: int) -> None:
        try:
            far.send("out", message, exchange="nowhere")
        except Exception as e:
            raised.append(str(e))
        near.ack(header)

    near.subscribe("in", callback, acknowledgement=True)
    near.send("in", 1)
    wait_until(lambda: raised, "the error")
    assert "exchange" in raised[0]
