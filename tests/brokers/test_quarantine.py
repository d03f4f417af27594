"""The quarantine over every driver (compatibility.md, 1: services, Schlockmeister)."""

from __future__ import annotations

from typing import Any

from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

SELECTOR = "JMSXDeliveryCount>3"


def test_what_is_delivered_too_often_goes_to_the_quarantine(
    relay: RelayProcess, transport: RelayTransport, other: RelayTransport, take: Any, queue: str
) -> None:
    keeper = take(">", other, acknowledgement=True, selector=SELECTOR)
    seen: list[tuple[Any, Any]] = []

    def work(header: Any, message: Any) -> None:
        seen.append((header, message))
        if message == "bad":
            transport.nack(header, requeue=True)
        else:
            transport.ack(header)

    transport.subscribe(queue, work, acknowledgement=True)
    for message in ("good", "bad", "good"):
        transport.send(queue, message, headers={"mine": "1"})
    keeper.wait(1)
    assert keeper.messages == ["bad"]
    (header,) = keeper.headers
    assert (header["mine"], header["routing_key"], header["JMSXDeliveryCount"]) == ("1", queue, 4)
    assert [message for _, message in seen].count("bad") == 3
    letters = take(f"dlq.{queue}", acknowledgement=True)
    other.nack(header)
    letters.wait(1)
    assert letters.messages == ["bad"]
    assert letters.headers[0]["x-death-reason"] == "delivered 3 times and never settled"
    transport.ack(letters.headers[0])
    # It goes on: the one that has been counted is forgotten.
    transport.send(queue, "bad", headers={"mine": "1"})
    wait_until(lambda: [message for _, message in seen].count("bad") == 6)
    keeper.wait(2)
    other.ack(keeper.headers[1])
    transport.send(queue, "last")
    wait_until(lambda: seen[-1][1] == "last")
    assert len(letters.messages) == 1


def test_without_a_keeper_it_stays_with_its_consumer(
    relay: RelayProcess, transport: RelayTransport, other: RelayTransport, take: Any, queue: str
) -> None:
    keeper = take(">", other, acknowledgement=True, selector="JMSXDeliveryCount>1")
    inbox = take(queue, acknowledgement=True)
    transport.send(queue, "one")
    inbox.wait(1)
    other.unsubscribe(keeper.number)
    for count in (2, 3):
        transport.nack(inbox.headers[-1], requeue=True)
        inbox.wait(count)
    transport.ack(inbox.headers[-1])
    assert keeper.messages == []


def test_a_service_says_why_it_rejects(
    relay: RelayProcess, transport: RelayTransport, take: Any, queue: str
) -> None:
    inbox = take(queue, acknowledgement=True)
    letters = take(f"dlq.{queue}", acknowledgement=True)
    transport.send(queue, "one")
    inbox.wait(1)
    transport.nack(inbox.headers[0], reason="no such beamline")
    letters.wait(1)
    assert letters.headers[0]["x-death-reason"] == "no such beamline"
    transport.ack(letters.headers[0])
