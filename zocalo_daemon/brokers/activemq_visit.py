"""A short visit to a STOMP broker beside the relay's connections, for operators: it waits, in a thread.

What it does wrong, or waits for, concerns no message of a service.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from zocalo_daemon.brokers.activemq import Connection
from zocalo_daemon.brokers.activemq_frames import Frame
from zocalo_daemon.brokers.loop import Loop
from zocalo_daemon.brokers.peer import tls_context, with_password
from zocalo_daemon.errors import Unavailable, ZocaloError

PATIENCE = 5.0  # seconds without a frame of a broker that owes an answer
MISSING = 1.0  # seconds without a message that a browser has shown; somebody else may have taken it
PAGE = 1000  # messages that are taken out at once
ANSWERS = "/temp-queue/zocalod.answers"
LAST = "zocalod-last"  # header of the message behind all answers


class Visit:
    """A connection; to be used in a `with`.

    Args:
        hosts: HOST:PORT, tried in this order.

    Raises:
        Unavailable: no host takes it; or later, the broker does not answer.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], hosts: Sequence[str]) -> None:
        self._name, self._settings = name, with_password(settings)
        self._tls = tls_context(settings.get("tls"))
        self._loop = Loop()
        self._numbers = itertools.count(1)
        self._found: dict[str, list[Frame]] = {}  # by subscription
        self._answers: dict[str, str] = {}  # to a receipt, or of a browser that has shown all: why not
        self._ended = ""  # why the connection is gone
        self._heard = 0.0
        try:
            self._line = self._connect(hosts)
        except ZocaloError:
            self._loop.close()
            raise

    def __enter__(self) -> Visit:
        """Begin."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """End it; what was taken out and not removed goes back to where it was."""
        self._line.abandon()
        self._loop.close()

    @property
    def is_native(self) -> bool:
        """Whether the broker is ActiveMQ, not one that merely speaks STOMP."""
        return not self._line.server.startswith("RabbitMQ")

    # -- Questions

    def ask(self, command: str, headers: Mapping[str, object], body: bytes = b"") -> str:
        """Send a frame and wait until the broker has acted on it; return why it has not, or ""."""
        receipt = f"ask.{next(self._numbers)}"
        self._line.send(command, {**headers, "receipt": receipt}, body)
        self._until(lambda: receipt in self._answers)
        return self._answers.pop(receipt)

    def browse(self, destinations: Sequence[str]) -> list[list[Frame] | str]:
        """Return for each queue the first page of its messages, or why the broker does not show it."""
        numbers = [self._begin(one, browser="true", ack="auto") for one in destinations]
        self._until(lambda: self._answers.keys() >= set(numbers))
        return [self._end(number) for number in numbers]

    def statistics(self, destinations: Sequence[str]) -> list[Frame]:
        """Ask the statistics plugin; return its answers, which are none without it."""
        number = self._begin(ANSWERS, ack="auto", transformation="jms-map-json")
        for one in destinations:
            self.ask("SEND", {"destination": one, "reply-to": ANSWERS})
        return self._answered(number)[:-1]

    def time(self) -> int:
        """Return the time of the broker in milliseconds since the epoch."""
        return sent(self._answered(self._begin(ANSWERS, ack="auto"))[-1])

    def look(self, destination: str) -> list[Frame]:
        """Return the first page of the messages of a queue.

        Raises:
            ZocaloError: the broker does not show it.
        """
        (shown,) = self.browse([destination])
        if isinstance(shown, str):
            raise ZocaloError(f"the broker does not show {destination}: {shown}")
        return shown

    @contextmanager
    def taken(self, destination: str, limit: int = PAGE) -> Iterator[list[Frame]]:
        """Take messages out of a queue, oldest first; those that were not removed go back.

        Raises:
            ZocaloError: the broker does not show it.
        """
        count = min(limit, len(self.look(destination)))
        size = {"activemq.prefetchSize": max(1, count)}
        number = self._begin(destination, ack="client-individual", **size)
        frames = self._found[number]
        try:
            self._waits(lambda: len(frames) >= count or number in self._answers, MISSING)
            yield list(frames)
        finally:
            self.ask("UNSUBSCRIBE", {"id": number})
            self._answers.pop(number, None)
            del self._found[number]

    def remove(self, frame: Frame) -> None:
        """Delete a message that was taken out."""
        self._line.send("ACK", {"id": frame.headers.get("ack", "")})

    # -- The connection

    def _connect(self, hosts: Sequence[str]) -> Connection:
        for host in hosts:
            self._ended = ""
            connected: list[bool] = []
            self._line = Connection(
                self._loop,
                host,
                self._settings,
                self._tls,
                on_up=lambda: connected.append(True),  # noqa: B023 - called before the next one begins
                on_down=self._lost,
                on_frame=self._take,
            )
            if self._waits(lambda: bool(connected), PATIENCE):  # noqa: B023
                return self._line
            self._line.abandon()
        raise self._unavailable()

    def _lost(self, reason: str) -> None:
        self._ended = reason

    def _unavailable(self) -> Unavailable:
        reason = self._ended or f"it was silent for {PATIENCE:g} s"
        return Unavailable(
            f"{self._name}: the broker does not answer ({reason}); see the transports in 'zocaloctl status'"
        )

    def _begin(self, destination: str, **headers: object) -> str:
        number = f"look.{next(self._numbers)}"
        self._found[number] = []
        self._line.send("SUBSCRIBE", {"id": number, "destination": destination, "receipt": number, **headers})
        return number

    def _end(self, number: str) -> list[Frame] | str:
        frames, refusal = self._found.pop(number), self._answers.pop(number)
        if refusal:
            return refusal
        self._line.send("UNSUBSCRIBE", {"id": number})
        return frames

    def _answered(self, number: str) -> list[Frame]:
        """Return what has come to ANSWERS, the last one of which is sent now."""
        refusal = self.ask("SEND", {"destination": ANSWERS, LAST: "true"})
        if refusal:
            raise ZocaloError(f"the broker allows no temporary queue: {refusal}")
        frames = self._found[number]
        self._until(lambda: any(LAST in frame.headers for frame in frames))
        self._line.send("UNSUBSCRIBE", {"id": number})
        return self._found.pop(number)

    def _take(self, frame: Frame) -> None:
        self._heard = self._loop.clock()
        receipt = frame.headers.get("receipt-id", "")
        number = frame.headers.get("subscription", "")
        if frame.command == "ERROR":
            self._answers[receipt] = frame.headers.get("message", "") or "no reason given"
        elif frame.headers.get("browser") == "end":
            self._answers[number] = ""
        elif frame.command == "MESSAGE":
            if number in self._found:
                self._found[number].append(frame)
        elif receipt not in self._found:  # a subscription that stands has not answered yet
            self._answers[receipt] = ""

    def _until(self, condition: Callable[[], bool]) -> None:
        if not self._waits(condition, PATIENCE):
            raise self._unavailable()

    def _waits(self, condition: Callable[[], bool], patience: float) -> bool:
        """Say whether the condition comes true before the connection ends, or is silent for too long."""
        self._heard = self._loop.clock()
        self._line.flush()
        while not condition():
            left = self._heard + patience - self._loop.clock()
            if self._ended or left <= 0:
                return False
            self._loop.turn(left)
            self._line.flush()
        return True


def sent(frame: Frame) -> int:
    """Return when the broker got a message, in milliseconds since the epoch."""
    return int(frame.headers.get("timestamp") or 0)
