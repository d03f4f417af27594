"""The relay is killed under load, and another one takes over its listening socket: nothing is lost."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import workflows

from tests.relaykit import RelayProcess
from tests.waiting import wait_until


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    relay = RelayProcess(tmp_path, "embedded")
    yield relay
    relay.close()


def empty(relay: RelayProcess, queue: str) -> bool:
    figures = relay.queue(queue)
    return figures["ready"] + figures["delayed"] + figures["unsettled"] == 0


def test_everything_arrives_though_the_relay_is_killed_again_and_again(relay):
    count = 1500
    producer, worker, sink = relay.transport(), relay.transport("worker/0"), relay.transport("sink/0")
    arrived: dict[int, int] = {}
    worked = itertools.count()

    def work(header, message):
        worker.send("out", message)
        worker.ack(header)
        next(worked)

    def keep(header, message):
        arrived[message] = arrived.get(message, 0) + 1

    worker.subscribe("in", work, acknowledgement=True)
    sink.subscribe("out", keep)
    sending = threading.Thread(target=lambda: [producer.send("in", n) for n in range(count)])
    sending.start()
    for _ in range(4):
        before = len(arrived)
        wait_until(lambda before=before: len(arrived) > before + 50 or len(arrived) == count, "some load")
        relay.restart()
    sending.join(60)
    wait_until(lambda: len(arrived) == count, f"all {count} messages", 60)
    wait_until(lambda: empty(relay, "in") and empty(relay, "out"), "empty queues")
    # Sends that waited were sent again, and recognised: whatever came twice was delivered twice.
    assert sum(arrived.values()) - count < 4 * 600
    for transport in (producer, worker, sink):
        assert transport.is_connected()
        transport.disconnect()


def test_a_send_that_waits_is_not_stored_twice(relay):
    transport = relay.transport()
    done = threading.Event()

    def send():
        for number in range(300):
            transport.send("once", number)
        done.set()

    threading.Thread(target=send).start()
    for _ in range(3):
        time.sleep(0.05)
        relay.restart()
    assert done.wait(30)
    assert relay.queue("once")["ready"] == 300
    transport.disconnect()


def test_calls_wait_while_there_is_no_relay(relay):
    transport = relay.transport()
    relay.kill()
    done = []

    def call():
        done.append(transport.subscribe("q", lambda header, message: done.append(message)))
        transport.send("q", "after")

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive() and not done
    assert transport.is_connected()
    relay.start()
    thread.join(20)
    wait_until(lambda: done == [1, "after"], "the message")
    transport.disconnect()


def test_what_is_in_hand_comes_again_and_its_ack_is_dropped(relay, caplog):
    transport = relay.transport()
    got = []
    transport.subscribe("q", lambda h, m: got.append((h, m)), acknowledgement=True, prefetch_count=5)
    transport.send("q", "kept")
    transport.send("q", "in a transaction")
    wait_until(lambda: len(got) == 2, "both messages")
    transaction = transport.transaction_begin()
    transport.send("out", 1, transaction=transaction)
    transport.ack(got[1][0], transaction=transaction)
    time.sleep(0.1)  # a delivery that is out for a while is known to the disk, so it comes back marked
    relay.restart()
    wait_until(lambda: len(got) == 4, "both messages again")
    with caplog.at_level(logging.WARNING):
        transport.ack(got[0][0])
        transport.transaction_commit(transaction)
    assert caplog.text.count("delivered again") == 2
    assert relay.queue("q")["unsettled"] == 2
    assert relay.queue("out")["ready"] == 0
    assert [h["redelivered"] for h, _ in got[2:]] == [True, True]
    transport.ack(got[3][0], multiple=True)
    wait_until(lambda: empty(relay, "q"), "an empty queue")
    transport.disconnect()


def test_a_transaction_that_cannot_happen_gives_back_what_came_after_the_old_relay(relay):
    transport = relay.transport()
    got = []
    transport.subscribe("q", lambda h, m: got.append((h, m)), acknowledgement=True, prefetch_count=5)
    transport.send("q", "before")
    wait_until(lambda: len(got) == 1, "the message")
    relay.restart()
    transport.send("q", "after")
    wait_until(lambda: len(got) == 3, "the message again, and the new one")

    def commit(messages):
        transaction = transport.transaction_begin()
        transport.send("out", 1, transaction=transaction)
        for headers, _ in messages:
            transport.ack(headers, transaction=transaction)
        transport.transaction_commit(transaction)

    commit(got[:3])
    wait_until(lambda: len(got) == 5, "both once more")
    assert relay.queue("out")["ready"] == 0
    assert {m for _, m in got[3:]} == {"before", "after"}
    commit(got[3:])
    wait_until(lambda: empty(relay, "q"), "an empty queue")
    assert relay.queue("out")["ready"] == 1
    transport.disconnect()


@pytest.mark.parametrize("driver", ["memory", "embedded"])
def test_a_temporary_queue_comes_back_under_its_name(tmp_path, driver):
    relay = RelayProcess(tmp_path, driver)
    transport, other = relay.transport(), relay.transport()
    got = []
    made = transport.subscribe_temporary("reply", lambda header, message: got.append(message))
    relay.restart()
    wait_until(lambda: relay.queue(made.queue_name)["consumers"] == 1, "the queue")
    other.send(made.queue_name, "hello")
    wait_until(lambda: got == ["hello"], "the reply")
    transport.disconnect()
    other.disconnect()
    relay.close()


def test_disconnecting_while_there_is_no_relay(relay, monkeypatch):
    monkeypatch.setattr("zocalo_daemon.worker.transport.FLUSH_TIMEOUT", 0.2)
    transport = relay.transport()
    errors = []

    def send():
        try:
            transport.send("q", 1)
        except workflows.Disconnected as e:
            errors.append(e)

    relay.kill()
    thread = threading.Thread(target=send)
    thread.start()
    transport.disconnect()
    thread.join(10)
    assert errors and not transport.is_connected()
    relay.start()


def test_sigterm_ends_the_relay_with_status_0(relay):
    transport = relay.transport()
    transport.send("q", 1)
    assert relay.stop() == 0
    relay.start()
    assert relay.queue("q")["ready"] == 1
    transport.disconnect()


def test_the_relay_ends_with_its_link(relay):
    relay.link.close()
    assert relay.wait() == 0


def test_the_relay_ends_when_told_to(relay):
    assert relay.request("exit") == {"id": 1, "ok": None}
    assert relay.wait() == 0
