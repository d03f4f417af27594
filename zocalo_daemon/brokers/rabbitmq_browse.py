"""Queues of RabbitMQ as operators see them: counts, dead letters, purge, reinject.

AMQP tells about queues whose names one knows, and shows messages only by handing them out: what is looked at
is put back at once, and bears the mark of a redelivery from then on. Each call waits for the broker, at most
PATIENCE seconds, while the relay does nothing else.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.base import DeadLetter, QueueInfo
from zocalo_daemon.brokers.loop import Loop
from zocalo_daemon.brokers.rabbitmq import Arrival, Channel
from zocalo_daemon.brokers.rabbitmq_clerk import Clerk
from zocalo_daemon.brokers.rabbitmq_consumers import Consumers
from zocalo_daemon.brokers.rabbitmq_headers import from_amqp
from zocalo_daemon.brokers.rabbitmq_lane import Refusal
from zocalo_daemon.brokers.rabbitmq_publisher import Publisher
from zocalo_daemon.errors import Unavailable

PATIENCE = 5.0  # seconds for one answer of the broker
SETTLING = 0.5  # seconds for a queue to show again what was put back
REINJECTED = "dlq-reinjected"  # the mark of zocalo.dlq_reinject, which services may look for


class Browser:
    """Looks at queues and works on dead letters.

    Args:
        flush: writes what the connections have to say.
    """

    def __init__(
        self, clerk: Clerk, publisher: Publisher, consumers: Consumers, loop: Loop, flush: Callable[[], None]
    ) -> None:
        self._clerk, self._publisher, self._consumers = clerk, publisher, consumers
        self._loop, self._flush = loop, flush
        self._seen: set[str] = set()

    def queues(self) -> list[QueueInfo]:
        """Return the queues that this relay has used, and their dead-letter queues."""
        out = Counter(one.name for one in self._consumers for _ in range(one.prefetch.out))
        self._seen |= self._publisher.destinations | {one.name for one in self._consumers if one.is_queue}
        names = self._seen | {
            deadletters.PREFIX + name for name in self._seen if not name.startswith(deadletters.PREFIX)
        }
        found = [(name, self._count(name)) for name in sorted(names)]
        return [
            QueueInfo(name, counts[0], 0, out[name], counts[1], name.startswith(deadletters.PREFIX))
            for name, counts in found
            if counts is not None
        ]

    def _count(self, name: str) -> tuple[int, int] | None:
        result: Any = self._ask(lambda channel, done: channel.ask_queue(name, done, passive=True))
        return None if result is None else (result[1], result[2])

    def dead_letters(self, queue: str, limit: int, after: int) -> list[DeadLetter]:
        """Return up to `limit` messages behind the one with the id `after`, in the order of the queue."""
        found: list[DeadLetter] = []
        passed = not after

        def look(letter: DeadLetter, _arrival: Arrival) -> bool:
            nonlocal passed
            if passed and len(found) < limit:
                found.append(letter)
            passed |= letter.id == after
            return False

        self._walk(queue, look, lambda: len(found) < limit)
        return found

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete messages; return how many."""
        if ids is None:
            result = self._ask(
                lambda channel, done: channel.queue_purge(
                    queue, callback=lambda frame: done(frame.method.message_count)
                )
            )
            return int(result[0]) if result else 0
        wanted = set(ids)
        return self._walk(queue, lambda letter, _: letter.id in wanted)

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Send messages back; return how many."""
        wanted = None if ids is None else set(ids)

        def move(letter: DeadLetter, arrival: Arrival) -> bool:
            if wanted is not None and letter.id not in wanted:
                return False
            headers = {**letter.headers, REINJECTED: True}
            target = destination or letter.origin
            answer: list[Refusal | None] = []
            self._publisher.put(target, headers, arrival.body, answer.append)
            self._wait(lambda: bool(answer))
            return answer[0] is None

        return self._walk(queue, move)

    def _walk(
        self,
        queue: str,
        takes: Callable[[DeadLetter, Arrival], bool],
        goes_on: Callable[[], bool] = lambda: True,
    ) -> int:
        """Show each message that is there now to `takes`, which says whether to remove it.

        Returns:
            How many were removed.
        """
        counts = self._count(queue)
        kept: list[tuple[Channel, int]] = []
        taken = 0
        for _ in range(counts[0] if counts else 0):
            found = self._get(queue) if goes_on() else None
            if found is None:
                break
            channel, arrival = found
            if takes(_letter(queue, arrival), arrival):
                channel.basic_ack(arrival.tag)
                taken += 1
            else:
                kept.append((channel, arrival.tag))
        self._return(queue, kept)
        return taken

    def _get(self, queue: str) -> tuple[Channel, Arrival] | None:
        def get(channel: Channel, done: Callable[..., None]) -> None:
            channel.ask_message(queue, lambda arrival: done(channel, arrival))

        result = self._ask(get)
        return result if result and result[1] is not None else None

    def _return(self, queue: str, kept: Sequence[tuple[Channel, int]]) -> None:
        for channel, tag in kept:
            if channel.is_open:
                channel.basic_nack(tag, requeue=True)
        # A queue gets what is put back by and by: whoever looks next should find it there.
        deadline = self._loop.clock() + SETTLING
        while kept and (self._count(queue) or (0, 0))[0] < len(kept) and self._loop.clock() < deadline:
            self._loop.turn(0.005)
        self._flush()

    def _ask(self, question: Callable[[Channel, Callable[..., None]], None]) -> Any:
        """Return the broker's answer, None if it refuses."""
        answer: list[Any] = []
        self._clerk.ask(question, lambda result, _problem: answer.append(result))
        self._wait(lambda: bool(answer))
        return answer[0]

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = self._loop.clock() + PATIENCE
        self._flush()
        while not condition():
            left = deadline - self._loop.clock()
            if left <= 0:
                raise Unavailable("the broker does not answer; see the transports in 'zocaloctl status'")
            self._loop.turn(left)
            self._flush()


def _letter(queue: str, arrival: Arrival) -> DeadLetter:
    headers = from_amqp(arrival.headers)
    # AMQP gives messages no number: what tells them apart is what they are.
    content = repr(sorted(headers.items())).encode() + arrival.body
    number = int.from_bytes(hashlib.blake2b(content, digest_size=6).digest(), "big")
    return DeadLetter(
        id=number,
        queue=queue,
        origin=deadletters.origin_of(headers, queue),
        reason=deadletters.reason_of(headers),
        time=deadletters.time_of(headers),
        headers=headers,
        body=arrival.body,
    )
