"""Two transports in one process: the embedded broker and a real RabbitMQ."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import workflows

from tests.brokers.conftest import Inbox
from tests.brokers.rabbit import RabbitServer
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport


@pytest.fixture
def relay(tmp_path: Path, rabbit: RabbitServer) -> Iterator[RelayProcess]:
    transports = [{"name": "default", "driver": "embedded"}, rabbit.settings(name="far")]
    relay = RelayProcess(tmp_path, transports=transports)
    yield relay
    relay.close()


@pytest.fixture
def both(relay: RelayProcess) -> Iterator[tuple[RelayTransport, RelayTransport]]:
    """Two connected transports of one worker, for the one broker and the other."""
    made = [RelayTransport.for_worker(relay.path, "bridge/0", name) for name in ("", "far")]
    for one in made:
        assert one.connect()
    yield made[0], made[1]
    for one in made:
        one.disconnect()


def unsettled(relay: RelayProcess, queue: str) -> int:
    """Return how many messages of a queue of the embedded broker are in hand."""
    found = relay.request("queues", transport="default", patterns=[queue])["ok"]
    return found[0]["unsettled"]


def hold_one_of_each(both, queue):
    """Take a message on each transport; return their headers."""
    near, far = both
    inbox, other = Inbox(), Inbox()
    near.subscribe(f"{queue}.near", inbox, acknowledgement=True)
    far.subscribe(queue, other, acknowledgement=True)
    near.send(f"{queue}.near", "near")
    far.send(queue, "far")
    inbox.wait(1)
    other.wait(1)
    return inbox.headers[0], other.headers[0]


def test_a_settlement_is_not_taken_for_one_of_the_other_transport(relay, both, queue):
    near, far = both
    here, there = hold_one_of_each(both, queue)
    assert here["subscription"] == there["subscription"]
    assert here["message-id"] != there["message-id"]
    with pytest.raises(workflows.Error, match="not in hand"):
        near.ack(there)
    with pytest.raises(workflows.Error, match="not in hand"):
        far.ack(here)
    assert unsettled(relay, f"{queue}.near") == 1
    near.ack(here)
    far.ack(there)
    wait_until(lambda: not unsettled(relay, f"{queue}.near"), "the settlement")


def test_a_settlement_waits_for_what_the_other_transport_has_sent(relay, rabbit, both, queue):
    near, far = both
    held = Inbox()
    near.subscribe(f"{queue}.near", held, acknowledgement=True)
    near.send(f"{queue}.near", 1)
    held.wait(1)
    sent, settled = threading.Event(), threading.Event()

    def combine(header, message):
        rabbit.signal(signal.SIGSTOP)
        far.send(f"{queue}.out", [message, held.messages[0]])  # for this delivery, so it does not wait
        sent.set()
        near.ack(held.headers[0])
        settled.set()
        far.ack(header)

    far.subscribe(queue, combine, acknowledgement=True)
    far.send(queue, 2)
    try:
        assert sent.wait(20)
        assert not settled.wait(0.3)
        assert unsettled(relay, f"{queue}.near") == 1
    finally:
        rabbit.signal(signal.SIGCONT)
    assert settled.wait(20)
    wait_until(lambda: not unsettled(relay, f"{queue}.near"), "the settlement")


def test_what_a_killed_relay_may_have_lost_brings_the_other_message_back(relay, rabbit, both, queue):
    near, far = both
    sent, tries, results = threading.Event(), [], Inbox()
    held = Inbox()
    near.subscribe(f"{queue}.near", held, acknowledgement=True)
    near.send(f"{queue}.near", 1)
    held.wait(1)

    def combine(header, message):
        tries.append(message)
        if len(tries) == 1:
            rabbit.signal(signal.SIGSTOP)
            far.send(f"{queue}.out", message)
            sent.set()
        else:
            far.send(f"{queue}.out", message)
        near.ack(held.headers[-1])
        far.ack(header)

    far.subscribe(queue, combine, acknowledgement=True)
    far.send(queue, 2)
    assert sent.wait(20)
    relay.kill()  # with the message that RabbitMQ has not confirmed
    rabbit.signal(signal.SIGCONT)
    relay.start()
    held.wait(2)
    far.subscribe(f"{queue}.out", results)
    results.wait(1)
    wait_until(lambda: len(tries) > 1, "the far message again")


def test_a_loss_on_one_transport_is_not_settled_on_the_other(tmp_path, rabbit, queue):
    """As with two relays: only the one with the unconfirmed message dies."""
    (tmp_path / "near").mkdir()
    (tmp_path / "far").mkdir()
    relays = [
        RelayProcess(tmp_path / "near", "embedded"),
        RelayProcess(tmp_path / "far", transports=[rabbit.settings()]),
    ]
    near, far = (relay.transport("bridge/0") for relay in relays)
    held, sent = Inbox(), threading.Event()
    near.subscribe(f"{queue}.near", held, acknowledgement=True)
    near.send(f"{queue}.near", 1)
    held.wait(1)

    def combine(header, message):
        if not sent.is_set():
            rabbit.signal(signal.SIGSTOP)
            far.send(f"{queue}.out", message)
            sent.set()
            near.ack(held.headers[0])
        far.ack(header)

    try:
        far.subscribe(queue, combine, acknowledgement=True)
        far.send(queue, 2)
        assert sent.wait(20)
        relays[1].kill()
        rabbit.signal(signal.SIGCONT)
        relays[1].start()
        held.wait(2)
        assert held.headers[1]["redelivered"]
        near.ack(held.headers[1])
    finally:
        for one in (near, far):
            one.disconnect()
        for relay in relays:
            relay.close()
