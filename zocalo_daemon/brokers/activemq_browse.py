"""Queues of ActiveMQ as operators see them: counts, dead letters, purge, reinject.

A browser of ActiveMQ shows the messages of a queue without taking them, those that are out included, at most
so many as its policy maxBrowsePageSize says (400). Each call waits for the broker, at most PATIENCE seconds,
while the relay does nothing else.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.activemq_batches import Refusal
from zocalo_daemon.brokers.activemq_consumers import Consumers
from zocalo_daemon.brokers.activemq_frames import Frame
from zocalo_daemon.brokers.activemq_headers import SHARED_DEAD, Names, as_sent
from zocalo_daemon.brokers.activemq_peer import StompPeer
from zocalo_daemon.brokers.activemq_publisher import Publisher
from zocalo_daemon.brokers.base import Kind, Publication
from zocalo_daemon.brokers.inspector import DeadLetter, QueueInfo, Route
from zocalo_daemon.brokers.loop import Loop
from zocalo_daemon.errors import Unavailable, ZocaloError

PATIENCE = 5.0  # seconds for one answer of the broker
REINJECTED = "dlq-reinjected"  # the mark of zocalo.dlq_reinject, which services may look for
MOST = 1_000_000  # messages that are taken out at once
MINE = "look."  # begins the ids of these subscriptions


class Browser:
    """Looks at queues and works on dead letters.

    Args:
        flush: writes what the connections have to say.
    """

    def __init__(
        self,
        peer: StompPeer,
        names: Names,
        publisher: Publisher,
        consumers: Consumers,
        *,
        loop: Loop,
        flush: Callable[[], None],
    ) -> None:
        self._peer, self._names, self._publisher, self._consumers = peer, names, publisher, consumers
        self._loop, self._flush = loop, flush
        self._numbers = itertools.count(1)
        self._found: dict[str, list[Frame]] = {}  # by subscription, until they are looked at
        self._ended: set[str] = set()

    # -- Frames

    def take(self, frame: Frame) -> bool:
        """Take a frame that belongs to a look; say whether it does."""
        number = frame.headers.get("subscription") or frame.headers.get("receipt-id", "")
        if not number.startswith(MINE):
            return False
        if frame.command != "MESSAGE" or frame.headers.get("browser") == "end":
            self._ended.add(number)
        elif number in self._found:
            self._found[number].append(frame)
        return True

    def down(self) -> None:
        """The connection is gone: nothing more will come."""
        self._ended.update(self._found)

    def _begin(self, destination: str, **headers: object) -> str:
        number = f"{MINE}{next(self._numbers)}"
        self._found[number] = []
        self._peer.send("SUBSCRIBE", {"id": number, "destination": destination, **headers})
        return number

    def _browse(self, destinations: Sequence[str]) -> list[list[Frame]]:
        """Return the messages of each destination."""
        self._require()
        numbers = [self._begin(one, browser="true", ack="auto") for one in destinations]
        self._wait(lambda: self._ended.issuperset(numbers))
        for number in numbers:
            self._peer.send("UNSUBSCRIBE", {"id": number})
            self._ended.discard(number)
        return [self._found.pop(number) for number in numbers]

    def _require(self) -> None:
        if not self._peer.up:
            raise Unavailable(
                "there is no connection to the broker; see the transports in 'zocaloctl status'"
            )
        if not self._peer.is_native:
            raise Unavailable(
                "this broker shows no queues by STOMP; use the driver rabbitmq, or its own tools"
            )

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = self._loop.clock() + PATIENCE
        self._flush()
        while not condition():
            left = deadline - self._loop.clock()
            if left <= 0:
                raise Unavailable("the broker does not answer; see the transports in 'zocaloctl status'")
            self._loop.turn(left)
            self._flush()

    # -- Counts

    def queues(self) -> list[QueueInfo]:
        """Return the queues that this relay has used, and the dead-letter queues."""
        mine = [one for one in self._consumers if not one.is_topic and not one.source.ignore_namespace]
        names = sorted(self._publisher.destinations | {one.name for one in mine})
        alive = [name for name in names if not name.startswith(deadletters.PREFIX)]
        destinations = [self._names.destination(Kind.QUEUE, name) for name in alive]
        *counts, dead, shared = self._browse([*destinations, self._names.all_dead, f"/queue/{SHARED_DEAD}"])
        found = Counter({name: len(frames) for name, frames in zip(alive, counts, strict=True)})
        found.update(self._names.name(frame.headers.get("destination", "")) for frame in dead)
        if shared:
            found[SHARED_DEAD] = len(shared)
        held = [arrival.consumer for arrival in self._consumers.held.values()]
        out = Counter(one.name for one in held if not one.source.ignore_namespace)
        consumers = Counter(one.name for one in mine if not one.cancelled)
        return [
            QueueInfo(name, max(0, found[name] - out[name]), 0, out[name], consumers[name], _is_dead(name))
            for name in sorted({*found, *names} - set(self._consumers.ended))
        ]

    # -- Dead letters

    def dead_letters(self, queue: str, limit: int, after: int) -> list[DeadLetter]:
        """Return up to `limit` messages behind the one with the id `after`, in the order of the queue."""
        letters = [self._letter(queue, frame) for frame in self._browse([self._destination(queue)])[0]]
        places = [place for place, letter in enumerate(letters, 1) if letter.id == after]
        return letters[places[0] if places else 0 :][:limit]

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete messages; return how many."""
        return self._walk(queue, ids, lambda _letter, _frame: True)

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Send messages back; return how many."""

        def move(letter: DeadLetter, frame: Frame) -> bool:
            headers = {**as_sent(frame.headers), REINJECTED: True}
            origin = frame.headers.get("original-destination", "")
            answer: list[Refusal | None] = []
            if not destination and origin.startswith("/topic/"):
                target = Publication(Kind.TOPIC, self._names.name(letter.origin), headers, frame.body)
            else:
                target = Publication(Kind.QUEUE, destination or letter.origin, headers, frame.body)
            self._publisher.publish_all([target], answer.append)
            self._wait(lambda: bool(answer))
            return answer[0] is None

        return self._walk(queue, ids, move)

    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message to where `route` says."""
        frames, number = self._fetch(queue, 1)
        try:
            return self._move(self._letter(queue, frames[0]), frames[0], route) if frames else None
        finally:
            self._finish(number)

    def _move(self, letter: DeadLetter, frame: Frame, route: Route) -> DeadLetter:
        answer: list[Refusal | None] = []
        target = Publication(Kind.QUEUE, route(letter), letter.headers, letter.body)
        self._publisher.publish_all([target], answer.append)
        self._wait(lambda: bool(answer))
        if answer[0] is not None:
            raise ZocaloError(f"the broker does not take it for {target.destination}: {answer[0][1]}")
        self._peer.send("ACK", {"id": frame.headers.get("ack", "")})
        return letter

    def _walk(self, queue: str, ids: Sequence[int] | None, takes: Callable[[DeadLetter, Frame], bool]) -> int:
        """Show the wanted messages to `takes`, which says whether to remove each; return how many it did."""
        wanted = None if ids is None else set(ids)
        removed = 0
        while True:
            frames, number = self._fetch(queue)
            taken = 0
            for frame in frames:
                letter = self._letter(queue, frame)
                if (wanted is None or letter.id in wanted) and takes(letter, frame):
                    self._peer.send("ACK", {"id": frame.headers.get("ack", "")})
                    taken += 1
            removed += taken
            self._finish(number)
            # A browser shows a page: there may be more.
            if not taken or wanted is not None:
                return removed

    def _fetch(self, queue: str, limit: int = MOST) -> tuple[list[Frame], str]:
        destination = self._destination(queue)
        count = min(limit, len(self._browse([destination])[0]))
        size = {"activemq.prefetchSize": max(1, count)}
        number = self._begin(destination, ack="client-individual", **size)
        frames = self._found[number]
        if count:
            deadline = self._loop.clock() + PATIENCE / 5  # somebody else may have taken some
            self._wait(
                lambda: len(frames) >= count or not self._peer.up or self._loop.clock() > deadline - 0.05
            )
        return list(frames), number

    def _finish(self, number: str) -> None:
        self._peer.send("UNSUBSCRIBE", {"id": number, "receipt": number})
        self._wait(lambda: number in self._ended)
        self._ended.discard(number)
        self._found.pop(number, None)

    def _destination(self, queue: str) -> str:
        return self._names.destination(Kind.QUEUE, queue)

    def _letter(self, queue: str, frame: Frame) -> DeadLetter:
        headers = as_sent(frame.headers)
        number = hashlib.blake2b(frame.headers.get("message-id", "").encode(), digest_size=6).digest()
        origin = frame.headers.get("original-destination", "").removeprefix("/topic/")
        died = deadletters.time_of(headers) or int(frame.headers.get("timestamp") or 0) / 1000
        return DeadLetter(
            id=int.from_bytes(number, "big"),
            queue=queue,
            origin=self._names.name(origin) if origin else deadletters.origin_of(headers, queue),
            reason=deadletters.reason_of(headers) or frame.headers.get("dlqDeliveryFailureCause", ""),
            time=died,
            headers=headers,
            body=frame.body,
            topic=frame.headers.get("original-destination", "").startswith("/topic/"),
        )


def _is_dead(name: str) -> bool:
    return name.startswith(deadletters.PREFIX) or name == SHARED_DEAD
