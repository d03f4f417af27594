"""Who gets what is delivered too often."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from zocalo_daemon.brokers.base import Delivered, Kind, Outcome, Settlement, Source
from zocalo_daemon.relay import quarantine
from zocalo_daemon.relay.quarantine import Quarantine, limit_of


@dataclass
class Taker:
    """A consumer."""

    name: str = "q"
    source: Source = field(default_factory=lambda: Source(Kind.QUEUE, "q"))
    window: Any = field(default_factory=lambda: SimpleNamespace(granted=10))
    session: Any = field(default_factory=lambda: SimpleNamespace(channel=SimpleNamespace(is_congested=False)))


class Setup:
    """A quarantine with one keeper, which gets what is delivered for the third time."""

    def __init__(self) -> None:
        self.keeper, self.consumer, self.tag = Taker(">"), Taker(), 0
        self.quarantine = Quarantine({7: (self.keeper, 2)})

    def deliver(self, body: bytes = b"x", consumer: Taker | None = None) -> tuple[bool, Delivered]:
        """Deliver once more; return whether the keeper gets it, and what."""
        self.tag += 1
        event = Delivered(1, self.tag, {"a": 1}, body, True, "key")
        who, what = self.quarantine.pick(consumer or self.consumer, event)
        return who is self.keeper, what

    def settle(self, outcome: Outcome, tag: int = 0, reason: str = "") -> Settlement:
        return self.quarantine.settled(Settlement(tag or self.tag, outcome, reason))


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        (Source(Kind.QUEUE, ">", selector="JMSXDeliveryCount>5"), 5),
        (Source(Kind.QUEUE, ">", selector=" JMSXDeliveryCount > 12 "), 12),
        (Source(Kind.QUEUE, ">", selector="JMSXDeliveryCount>5 OR a=1"), None),
        (Source(Kind.QUEUE, ">"), None),
        (Source(Kind.QUEUE, "q", selector="JMSXDeliveryCount>5"), None),
        (Source(Kind.TOPIC, ">", selector="JMSXDeliveryCount>5"), None),
    ],
)
def test_who_is_a_keeper(source: Source, limit: int | None) -> None:
    assert limit_of(source) == limit


def test_the_third_delivery_is_the_keepers(setup: Setup) -> None:
    assert not setup.deliver()[0]  # the second: the first was no redelivery
    setup.settle(Outcome.FORFEIT)
    kept, what = setup.deliver()
    assert kept
    assert (what.headers, what.routing_key, what.body) == ({"a": 1, "JMSXDeliveryCount": 3}, "q", b"x")
    assert setup.consumer.window.granted == 9


@pytest.mark.parametrize("outcome", [Outcome.ACCEPT, Outcome.REJECT])
def test_what_is_settled_for_good_is_forgotten(setup: Setup, outcome: Outcome) -> None:
    for _ in range(5):
        assert not setup.deliver()[0]
        setup.settle(outcome)


def test_copies_that_are_out_together_are_not_one_message(setup: Setup) -> None:
    assert [setup.deliver()[0] for _ in range(10)] == [False] * 10


def test_other_messages_are_counted_by_themselves(setup: Setup) -> None:
    for body in (b"x", b"y"):
        assert not setup.deliver(body)[0]
        setup.settle(Outcome.REQUEUE)
    assert not setup.deliver(b"x", Taker("other"))[0]


def test_the_reason_is_that_of_the_quarantine_unless_there_is_another(setup: Setup) -> None:
    setup.deliver()
    setup.settle(Outcome.FORFEIT)
    setup.deliver()
    assert setup.settle(Outcome.FORFEIT).reason == ""
    setup.deliver()
    assert setup.settle(Outcome.REJECT, reason="3 workers have died of it").reason.startswith("3 workers")
    setup.deliver()
    assert setup.settle(Outcome.REJECT).reason == ""
    setup.deliver()
    setup.settle(Outcome.FORFEIT)
    setup.deliver()
    assert setup.settle(Outcome.REJECT).reason == "delivered 2 times and never settled"
    assert setup.settle(Outcome.REJECT, tag=999) == Settlement(999, Outcome.REJECT)


@pytest.mark.parametrize(
    "consumer",
    [
        Taker("dlq.q"),
        Taker(source=Source(Kind.TEMPORARY, "q")),
        Taker(source=Source(Kind.TOPIC, "q")),
    ],
    ids=str,
)
def test_dead_letters_and_replies_stay_where_they_are(setup: Setup, consumer: Taker) -> None:
    for _ in range(5):
        assert not setup.deliver(consumer=consumer)[0]
        setup.settle(Outcome.FORFEIT)


def test_a_keeper_that_does_not_read_gets_nothing(setup: Setup) -> None:
    setup.keeper.session.channel.is_congested = True
    for _ in range(5):
        assert not setup.deliver()[0]
        setup.settle(Outcome.FORFEIT)


def test_it_remembers_so_many_and_no_more(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MOST", 2)
    for body in (b"1", b"2", b"3"):
        setup.deliver(body)
        setup.settle(Outcome.FORFEIT)
    assert not setup.deliver(b"1")[0]
    setup.settle(Outcome.FORFEIT)
    assert setup.deliver(b"3")[0]
    assert len(setup.quarantine.watched) == 1
