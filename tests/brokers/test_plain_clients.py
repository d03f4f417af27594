"""Services without the daemon and ours share a broker: names, headers and bodies are those of workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.brokers.conftest import Inbox
from tests.brokers.plainclient import PlainClient, plain
from tests.brokers.rabbit import RabbitServer
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

MESSAGES: list[tuple[dict[str, Any] | None, Any]] = [
    (None, {"a": [1, 2.5, None, True], "ü": "日本"}),
    ({"x-own": "y", "number": 3, "big": 2**40, "yes": True, "none": None, "list": [1, "a"]}, "text"),
    ({"workflows-recipe": True}, {"recipe": {"1": {"queue": "q"}, "start": [[1, []]]}, "recipe-pointer": 1}),
    ({"zocalo.go.user": "me", "zocalo.go.host": "here"}, 17),
]
# What is another one with each delivery.
OWN = ("consumer_tag", "message-id", "subscription")


@pytest.fixture(scope="module")
def relay(rabbit: RabbitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """The relay on RabbitMQ."""
    relay = RelayProcess(tmp_path_factory.mktemp("relay"), "rabbitmq", transports=[rabbit.settings()])
    yield relay
    relay.close()


@pytest.fixture
def theirs(rabbit: RabbitServer) -> Iterator[PlainClient]:
    """A client with workflows' own transport."""
    client = PlainClient("PikaTransport", {"--rabbit-host": "127.0.0.1", "--rabbit-port": rabbit.port})
    yield client
    client.close()


@pytest.fixture
def ours(transport: RelayTransport) -> RelayTransport:
    """A client of the relay."""
    return transport


def without_own(header: dict[str, Any]) -> dict[str, Any]:
    assert set(OWN) <= set(header)
    return {name: value for name, value in header.items() if name not in OWN}


def received(inbox: Inbox) -> list[dict[str, Any]]:
    return [{"header": plain(header), "message": message} for header, message in inbox.items]


def test_a_service_cannot_tell_who_sent_a_message_nor_what_brought_it(
    ours: RelayTransport, theirs: PlainClient, take: Callable[..., Inbox], queue: str
) -> None:
    for headers, message in MESSAGES:
        theirs.call("send", queue, message, headers=headers)
        theirs.call("send", f"{queue}.1", message, headers=headers)
        ours.send(queue, message, headers=headers)
        ours.send(f"{queue}.1", message, headers=headers)
    theirs.call("subscribe", queue)
    inbox = take(f"{queue}.1")
    found_by_theirs = theirs.wait(2 * len(MESSAGES))
    inbox.wait(2 * len(MESSAGES))
    for number, (by_theirs, by_ours) in enumerate(zip(found_by_theirs, received(inbox), strict=True)):
        assert by_theirs["message"] == by_ours["message"] == MESSAGES[number // 2][1]
        expected = without_own(by_theirs["header"])
        assert without_own(by_ours["header"]) == {**expected, "routing_key": f"{queue}.1"}
        for name, value in (MESSAGES[number // 2][0] or {}).items():
            assert by_theirs["header"][name] == value


def test_a_message_of_ours_is_the_same_bytes_with_the_same_properties(
    ours: RelayTransport, theirs: PlainClient, rabbit: RabbitServer, queue: str
) -> None:
    for headers, message in MESSAGES:
        for options in ({}, {"expiration": 60}):
            theirs.call("send", queue, message, headers=headers, **options)
            ours.send(queue, message, headers=headers, **options)
    theirs.call("raw_send", queue, "no JSON {")
    ours.raw_send(queue, "no JSON {")
    with rabbit.channel() as channel:
        found = [channel.basic_get(queue, auto_ack=True) for _ in range(4 * len(MESSAGES) + 2)]
    assert all(method is not None for method, _, _ in found)
    for theirs_, ours_ in zip(found[::2], found[1::2], strict=True):
        assert ours_[2] == theirs_[2]
        assert ours_[1].__dict__ == theirs_[1].__dict__
        assert ours_[0].routing_key == theirs_[0].routing_key and ours_[0].exchange == theirs_[0].exchange


def test_both_share_a_queue_and_each_message_is_done_once(
    ours: RelayTransport, theirs: PlainClient, relay: RelayProcess, queue: str
) -> None:
    theirs.call("subscribe", queue, acknowledgement=True)
    inbox = Inbox()

    def settle(header: dict[str, Any], message: Any) -> None:
        ours.ack(header)
        inbox(header, message)

    ours.subscribe(queue, settle, acknowledgement=True)
    for number in range(20):
        theirs.call("send", queue, number)
    done: set[int] = set()

    def all_done() -> bool:
        while len(done) < len(theirs.arrived):
            item = theirs.arrived[len(done)]
            theirs.call("ack", item["header"])
            done.add(item["message"])
        return len(done) + len(inbox.items) >= 20

    wait_until(all_done, "all messages")
    assert sorted([*done, *inbox.messages]) == list(range(20))
    assert done and inbox.messages
    wait_until(lambda: relay.queue(queue)["ready"] == 0, "an empty queue")


def test_what_one_side_puts_back_comes_to_the_other_as_redelivered(
    ours: RelayTransport, theirs: PlainClient, take: Callable[..., Inbox], queue: str
) -> None:
    theirs.call("subscribe", queue, acknowledgement=True)
    ours.send(queue, "again")
    (item,) = theirs.wait(1)
    assert item["header"]["redelivered"] is False
    theirs.close()
    inbox = take(queue, acknowledgement=True)
    inbox.wait(1)
    assert inbox.headers[0]["redelivered"] is True
    ours.ack(inbox.headers[0])


def test_what_ours_rejects_is_a_dead_letter_that_plain_tools_can_send_back(
    ours: RelayTransport, theirs: PlainClient, take: Callable[..., Inbox], queue: str
) -> None:
    inbox = take(queue, acknowledgement=True)
    theirs.call("send", queue, {"a": 1}, headers={"x-own": "y"})
    inbox.wait(1)
    ours.nack(inbox.headers[0])
    theirs.call("subscribe", f"dlq.{queue}", acknowledgement=True)
    (letter,) = theirs.wait(1)
    assert letter["message"] == {"a": 1} and letter["header"]["x-own"] == "y"


def test_broadcasts_reach_both_from_both(ours: RelayTransport, theirs: PlainClient, queue: str) -> None:
    inbox = Inbox()
    ours.subscribe_broadcast(queue, inbox)
    theirs.call("subscribe_broadcast", queue)
    ours.broadcast(queue, {"from": "ours"}, headers={"x": 1})
    theirs.call("broadcast", queue, {"from": "theirs"}, headers={"x": 1})
    inbox.wait(2)
    by_theirs = theirs.wait(2)
    assert [item["message"] for item in by_theirs] == inbox.messages == [{"from": "ours"}, {"from": "theirs"}]
    for one, other in zip(by_theirs, received(inbox), strict=True):
        assert without_own(one["header"]) == without_own(other["header"])


def test_an_answer_to_a_temporary_queue_comes_from_either_side(
    ours: RelayTransport, theirs: PlainClient, queue: str
) -> None:
    _, their_queue = theirs.call("subscribe_temporary", "answers")
    inbox = Inbox()
    our_queue = ours.subscribe_temporary("answers", inbox).queue_name
    assert their_queue.startswith("transient.answers.") and our_queue.startswith("transient.answers.")
    ours.send(their_queue, "to you")
    theirs.call("send", our_queue, "to you")
    assert theirs.wait(1)[0]["message"] == "to you"
    inbox.wait(1)
    assert inbox.messages == ["to you"]


def test_transactions_of_one_side_are_seen_by_the_other_when_committed(
    ours: RelayTransport, theirs: PlainClient, take: Callable[..., Inbox], queue: str
) -> None:
    inbox = take(queue)
    theirs.call("subscribe", f"{queue}.1")
    for send, begin, commit, abort, target in (
        (
            lambda *a, **k: theirs.call("send", *a, **k),
            lambda: theirs.call("transaction_begin"),
            lambda t: theirs.call("transaction_commit", t),
            lambda t: theirs.call("transaction_abort", t),
            queue,
        ),
        (ours.send, ours.transaction_begin, ours.transaction_commit, ours.transaction_abort, f"{queue}.1"),
    ):
        for number, end in enumerate((abort, commit)):
            transaction = begin()
            send(target, number, transaction=transaction)
            end(transaction)
    inbox.wait(1)
    theirs.wait(1)
    assert inbox.messages == [item["message"] for item in theirs.arrived] == [1]
