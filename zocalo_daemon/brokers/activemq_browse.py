"""Queues of ActiveMQ as operators see them: counts, dead letters, purge, reinject.

The statistics plugin, where the broker has it, counts all queues. A browser shows the messages of a queue
without taking them, those that are out included, at most so many as its policy maxBrowsePageSize says (400).
An inspector waits for its answers, in a thread.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.activemq_consumers import Consumers
from zocalo_daemon.brokers.activemq_frames import Frame
from zocalo_daemon.brokers.activemq_headers import SHARED_DEAD, Names, as_sent, properties_of, to_stomp
from zocalo_daemon.brokers.activemq_statistics import figures, question
from zocalo_daemon.brokers.activemq_visit import Visit, sent
from zocalo_daemon.brokers.base import Kind, Publication
from zocalo_daemon.brokers.inspector import DeadLetter, Inspector, QueueInfo, Route
from zocalo_daemon.errors import Unavailable, ZocaloError

_WITHOUT = (
    "only queues that this daemon has used are shown, and dead letters, and of each at most as many messages "
    "as maxBrowsePageSize says; <statisticsBrokerPlugin/> among the plugins of the broker changes that"
)


@dataclass(slots=True, frozen=True)
class Known:
    """What a relay knows itself, by names of queues of its namespace.

    Args:
        names: those that it has used.
        out: deliveries that it has.
        consumers: its own.
        slots: what these are for the broker.
        ended: temporary queues that are no more.
    """

    names: set[str]
    out: Counter[str]
    consumers: Counter[str]
    slots: Counter[str]
    ended: frozenset[str]


def known(used: set[str], consumers: Consumers) -> Known:
    """Return what a relay knows now; `used` are queues to which it has sent something."""
    held = [arrival.consumer for arrival in consumers.held.values()]
    mine = [one for one in consumers if not one.is_topic and not one.source.ignore_namespace]
    return Known(
        used | {one.name for one in mine},
        Counter(one.name for one in held if not one.source.ignore_namespace),
        Counter(one.name for one in mine if not one.cancelled),
        Counter(one.name for one in mine for _ in one.slots),
        frozenset(consumers.ended),
    )


class ActiveInspector(Inspector):
    """Looks at queues and works on dead letters.

    Args:
        visit: returns a connection of its own.
        known: what the relay knows.
        remember: told of a queue to which something was sent.
        complain: takes a line for the log.
    """

    def __init__(
        self,
        visit: Callable[[], Visit],
        names: Names,
        known: Known,
        *,
        remember: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._visit, self._names, self._known = visit, names, known
        self._remember, self._complain = remember, complain

    # -- Counts

    def queues(self) -> list[QueueInfo]:
        """Return every queue of the namespace, or those that this relay has used and all dead letters."""
        rows = self._told() or self._counted()
        mine = self._known
        for name in mine.names - rows.keys():
            rows[name] = QueueInfo(name, 0, 0, 0, mine.consumers[name], _is_dead(name))
        return [rows[name] for name in sorted(rows.keys() - mine.ended)]

    def _told(self) -> dict[str, QueueInfo]:
        """Return what the statistics plugin tells, nothing without it."""
        wanted = [self._names.destination(Kind.QUEUE, ">"), self._names.all_dead, f"/queue/{SHARED_DEAD}"]
        with self._open() as visit:
            try:
                answers = visit.statistics([question(one) for one in wanted])
                reason = "the broker has no statistics plugin"
            except Unavailable:  # without libraries to write JSON it ends the connection over the question
                answers, reason = [], "the broker does not tell its statistics by STOMP"
            except ZocaloError as e:
                answers, reason = [], e.message
        rows: dict[str, QueueInfo] = {}
        for one in filter(None, (figures(frame.body) for frame in answers)):
            name = self._names.name(one.destination)
            if name.startswith("ActiveMQ.") and name != SHARED_DEAD:
                continue
            # A consumer of ours is many subscriptions for the broker.
            others = max(0, one.subscriptions - self._known.slots[name])
            consumers = self._known.consumers[name] + others
            ready = max(0, one.size - one.out)
            rows[name] = QueueInfo(name, ready, 0, one.out, consumers, _is_dead(name))
        if not rows and self._known.names:
            self._complain(f"{reason}: {_WITHOUT}")
        return rows

    def _counted(self) -> dict[str, QueueInfo]:
        """Return what browsers show."""
        mine = self._known
        alive = sorted(name for name in mine.names if not _is_dead(name))
        destinations = [self._names.destination(Kind.QUEUE, name) for name in alive]
        with self._open() as visit:
            shown = visit.browse([*destinations, self._names.all_dead, f"/queue/{SHARED_DEAD}"])
        for name, refusal in zip([*alive, "dead letters", SHARED_DEAD], shown, strict=True):
            if isinstance(refusal, str):
                self._complain(f"the broker does not show '{name}': {refusal}")
        *counts, dead, shared = ([] if isinstance(one, str) else one for one in shown)
        found = Counter({name: len(frames) for name, frames in zip(alive, counts, strict=True)})
        found.update(self._names.name(frame.headers.get("destination", "")) for frame in dead)
        found.update([SHARED_DEAD] * len(shared))
        return {
            name: QueueInfo(
                name, max(0, number - mine.out[name]), 0, mine.out[name], mine.consumers[name], _is_dead(name)
            )
            for name, number in found.items()
        }

    def _open(self) -> Visit:
        visit = self._visit()
        if not visit.is_native:
            visit.__exit__(None, None, None)
            raise Unavailable(
                "this broker shows no queues by STOMP; use the driver rabbitmq, or its own tools"
            )
        return visit

    # -- Dead letters

    def walk(self, queue: str, after: int = 0) -> Generator[DeadLetter]:
        """Yield the messages behind the one with the id `after`, in the order of the queue."""
        with self._open() as visit:
            shown = visit.look(self._destination(queue))
        letters = [self._letter(queue, frame) for frame in shown]
        places = [place for place, letter in enumerate(letters, 1) if letter.id == after]
        yield from letters[places[0] if places else 0 :]

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete messages; return how many."""
        with self._open() as visit:
            return self._walk(visit, queue, ids, lambda _letter, _frame: True)

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Send messages back; return how many."""
        with self._open() as visit:

            def move(letter: DeadLetter, frame: Frame) -> bool:
                headers = {**as_sent(frame.headers), deadletters.REINJECTED: True}
                kind = Kind.TOPIC if letter.topic and not destination else Kind.QUEUE
                target = Publication(
                    kind, destination or letter.origin, headers, frame.body,
                    priority=letter.properties.get("priority"),
                )  # fmt: skip
                return target.destination != queue and not self._put(visit, target)

            return self._walk(visit, queue, ids, move)

    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message to where `route` says."""
        with self._open() as visit, visit.taken(self._destination(queue), 1) as frames:
            if not frames:
                return None
            letter = self._letter(queue, frames[0])
            target = Publication(Kind.QUEUE, route(letter), letter.headers, letter.body)
            refusal = self._put(visit, target)
            if refusal:
                raise ZocaloError(f"the broker does not take it for {target.destination}: {refusal}")
            visit.remove(frames[0])
            return letter

    def _walk(
        self,
        visit: Visit,
        queue: str,
        ids: Sequence[int] | None,
        takes: Callable[[DeadLetter, Frame], bool],
    ) -> int:
        """Show the wanted messages to `takes`, which says whether to remove each; return how many it did."""
        wanted = None if ids is None else set(ids)
        removed, now = 0, visit.time()  # what is dead again meanwhile is left alone, or there would be no end
        while True:
            taken = 0
            with visit.taken(self._destination(queue)) as frames:
                for frame in frames:
                    letter = self._letter(queue, frame)
                    named = sent(frame) <= now if wanted is None else letter.id in wanted
                    if named and takes(letter, frame):
                        visit.remove(frame)
                        taken += 1
            removed += taken
            # A browser shows a page: there may be more.
            if not taken or wanted is not None:
                return removed

    def _put(self, visit: Visit, target: Publication) -> str:
        """Send a message; return why it is not safe with the broker, or ""."""
        if target.destination in self._known.ended:
            return "that temporary queue is gone"
        destination = self._names.destination(target.kind, target.destination)
        try:
            headers = to_stomp(target, destination, 0.0)  # the time matters to what expires
        except ValueError as e:
            return str(e)
        refusal = visit.ask("SEND", headers, target.body)
        if not refusal and target.kind is Kind.QUEUE:
            self._remember(target.destination)
        return refusal

    def _destination(self, queue: str) -> str:
        return self._names.destination(Kind.QUEUE, queue)

    def _letter(self, queue: str, frame: Frame) -> DeadLetter:
        headers = as_sent(frame.headers)
        number = hashlib.blake2b(frame.headers.get("message-id", "").encode(), digest_size=6).digest()
        whole = frame.headers.get("original-destination", "")
        origin = whole.removeprefix("/topic/")
        died = deadletters.time_of(headers) or sent(frame) / 1000
        return DeadLetter(
            id=int.from_bytes(number, "big"),
            queue=queue,
            origin=self._names.name(origin) if origin else deadletters.origin_of(headers, queue),
            reason=deadletters.reason_of(headers) or frame.headers.get("dlqDeliveryFailureCause", ""),
            time=died,
            headers=headers,
            body=frame.body,
            topic=whole.startswith("/topic/"),
            properties=properties_of(frame.headers),
        )


def _is_dead(name: str) -> bool:
    return name.startswith(deadletters.PREFIX) or name == SHARED_DEAD


def inspect(
    name: str,
    settings: Mapping[str, Any],
    *,
    host: str,
    known: Known,
    remember: Callable[[str], None],
    complain: Callable[[str], None],
) -> ActiveInspector:
    """Return the inspector of a transport; `host` is tried first, the others as for ActiveInspector."""
    hosts = sorted(settings["hosts"], key=lambda one: one != host)
    return ActiveInspector(
        lambda: Visit(name, settings, hosts),
        Names(str(settings.get("prefix") or "")),
        known,
        remember=remember,
        complain=complain,
    )
