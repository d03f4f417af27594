"""Questions to the broker: does this queue exist, make that one. One at a time, on a channel of their own.

A question that the broker refuses ends its channel (404, 403, 406), which nothing else may share. A question
that a lost connection has left without an answer is asked again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from zocalo_daemon.brokers.rabbitmq import Channel, Problem
from zocalo_daemon.brokers.rabbitmq_peer import RabbitPeer

MISSING = 404
LOCKED = 405  # a temporary queue of another connection: it exists

Answer = Callable[[Any, Problem | None], None]
Ask = Callable[[Channel, Callable[..., None]], None]


class Clerk:
    """Asks; the answer is what the broker said, or why it refused."""

    def __init__(self, peer: RabbitPeer) -> None:
        self._peer = peer
        self._channel: Channel | None = None
        self._opening = False
        self._waiting: deque[tuple[Ask, Answer]] = deque()
        self._asked = False

    def ask(self, question: Ask, answer: Answer) -> None:
        """Have `question` called with a channel and where its result goes, and then `answer`."""
        self._waiting.append((question, answer))
        self._advance()

    def exists(self, exchange: str, queue: str, answer: Callable[[Problem | None], None]) -> None:
        """Look whether there is an exchange, or a queue if `exchange` is empty."""

        def question(channel: Channel, done: Callable[..., None]) -> None:
            if exchange:
                channel.exchange_declare(exchange, passive=True, callback=lambda _: done())
            else:
                channel.ask_queue(queue, done, passive=True)

        def answered(_: Any, problem: Problem | None) -> None:
            answer(None if problem is not None and problem[0] == LOCKED else problem)

        self.ask(question, answered)

    def up(self) -> None:
        """The connection stands."""
        self._opening = False
        self._advance()

    def down(self) -> None:
        """The connection is gone: the question that was asked comes again."""
        self._channel, self._asked, self._opening = None, False, False

    def _advance(self) -> None:
        if not self._waiting or self._asked or self._opening or not self._peer.up:
            return
        if self._channel is None:
            self._opening = True
            self._peer.open_channel(self._opened, self._ended)
            return
        self._asked = True
        self._waiting[0][0](self._channel, self._done)

    def _opened(self, channel: Channel) -> None:
        self._channel, self._opening = channel, False
        self._advance()

    def _done(self, *result: Any) -> None:
        self._answer(result, None)

    def _ended(self, problem: Problem) -> None:
        self._channel, self._opening = None, False
        if problem[0] and self._asked:
            self._answer(None, problem)

    def _answer(self, result: Any, problem: Problem | None) -> None:
        self._asked = False
        _, answer = self._waiting.popleft()
        answer(result, problem)
        self._advance()
