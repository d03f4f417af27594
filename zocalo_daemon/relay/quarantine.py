"""Messages that are delivered too often go to whoever keeps the quarantine, on every driver (pure).

A service that subscribes to the queue `>` with the selector `JMSXDeliveryCount>5` gets, from any queue of
its transport, what was delivered five times without being settled, in place of its consumer. It then decides;
what it rejects becomes a dead letter of the queue that it came from. Few brokers count deliveries, so the
relay does, while there is such a keeper.

A message is known by its queue and what it is (relay/poison). Of copies that are out together only the first
counts, so that equal messages that come again after an outage are not taken for one.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zocalo_daemon.brokers.base import Delivered, Kind, Outcome, Settlement, Source
from zocalo_daemon.brokers.deadletters import PREFIX
from zocalo_daemon.relay.poison import Message, identify

if TYPE_CHECKING:
    from zocalo_daemon.relay.consumers import Consumer

EVERY_QUEUE = ">"  # as ActiveMQ writes it
COUNT = "JMSXDeliveryCount"  # header, and property in the selector
MOST = 10_000  # messages; of more, the one that was delivered longest ago is forgotten
_SELECTOR = re.compile(rf"\s*{COUNT}\s*>\s*(\d{{1,9}})\s*")


def limit_of(source: Source) -> int | None:
    """Return how often a message may be delivered before it is for this source; None for any other source."""
    if source.kind is not Kind.QUEUE or source.name != EVERY_QUEUE:
        return None
    match = _SELECTOR.fullmatch(source.selector)
    return int(match[1]) if match else None


@dataclass(slots=True)
class _Count:
    redeliveries: int = 0
    out: int = 0


@dataclass(slots=True)
class Quarantine:
    """The keepers of one transport, by the number of their consumer, and what they are to get."""

    keepers: dict[int, tuple[Consumer, int]] = field(default_factory=dict)  # with their limits
    watched: dict[int, Message] = field(default_factory=dict)  # deliveries that are out, by tag
    _counts: OrderedDict[Message, _Count] = field(default_factory=OrderedDict)  # the latest stands last
    _reasons: dict[int, str] = field(default_factory=dict)  # of what keepers hold, by tag

    def pick(self, consumer: Consumer, event: Delivered) -> tuple[Consumer, Delivered]:
        """Count a redelivery; return who gets it, its consumer or a keeper, and what they get."""
        queue = consumer.name
        # A dead letter that is rejected stays where it is (brokers/planning.py): it would come for ever.
        if consumer.source.kind is not Kind.QUEUE or queue.startswith(PREFIX):
            return consumer, event
        deliveries = self._count(queue, event)
        able = (
            keeper
            for keeper, limit in self.keepers.values()
            if deliveries > limit and not keeper.session.channel.is_congested
        )
        keeper = next(able, None)
        if keeper is None:
            return consumer, event
        consumer.window.granted -= 1
        self._reasons[event.tag] = f"delivered {deliveries - 1} times and never settled"
        return keeper, replace(event, headers={**event.headers, COUNT: deliveries}, routing_key=queue)

    def _count(self, queue: str, event: Delivered) -> int:
        message = identify("", queue, event.headers, event.body)
        count = self._counts.pop(message, None) or _Count()
        if not count.out:
            count.redeliveries += 1
        count.out += 1
        self._counts[message] = count
        self.watched[event.tag] = message
        if len(self._counts) > MOST:
            self._counts.popitem(last=False)
        return count.redeliveries + 1

    def settled(self, settlement: Settlement) -> Settlement:
        """A delivery is settled; return how, with the reason if a keeper has rejected it."""
        message = self.watched.pop(settlement.tag, None)
        reason = self._reasons.pop(settlement.tag, "")
        count = self._counts.get(message) if message is not None else None
        if message is not None and count is not None:
            count.out -= 1
            if settlement.outcome in (Outcome.ACCEPT, Outcome.REJECT):
                del self._counts[message]
        if reason and settlement.outcome is Outcome.REJECT and not settlement.reason:
            return replace(settlement, reason=reason)
        return settlement
