"""Queues of RabbitMQ as operators see them: counts, dead letters, purge, reinject.

AMQP tells about queues whose names one knows; the management API, where it is configured, knows all. AMQP
shows messages only by handing them out: what is looked at is put back, and bears the mark of a redelivery.
An inspector waits for its answers, in a thread.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers import rabbitmq_delays as delays
from zocalo_daemon.brokers.inspector import DeadLetter, Inspector, QueueInfo, Route
from zocalo_daemon.brokers.rabbitmq_headers import from_amqp
from zocalo_daemon.brokers.rabbitmq_management import Management
from zocalo_daemon.brokers.rabbitmq_parameters import carried
from zocalo_daemon.brokers.rabbitmq_visit import Visit
from zocalo_daemon.errors import ZocaloError

REINJECTED = "dlq-reinjected"  # the mark of zocalo.dlq_reinject, which services may look for
COUNT = "x-delivery-count"  # of the dead-letter queue, it says nothing about the next one

Look = Callable[[DeadLetter, Any], bool]


class RabbitInspector(Inspector):
    """Looks at queues and works on dead letters.

    Args:
        visit: returns a connection of its own.
        known: queues that this relay has used.
        out: how many deliveries of each are with this relay.
        management: None if it is not configured.
        complain: takes a line for the log.
    """

    def __init__(
        self,
        visit: Callable[[], Visit],
        known: set[str],
        out: Mapping[str, int],
        management: Management | None,
        complain: Callable[[str], None],
    ) -> None:
        self._visit, self._known, self._out = visit, known, out
        self._management, self._complain = management, complain

    def queues(self) -> list[QueueInfo]:
        """Return every queue that the management API knows, or those that this relay has used."""
        told, letters = self._ask_management()
        names = self._known | {deadletters.PREFIX + name for name in self._known}
        # The API is seconds late: what this daemon works with is counted by AMQP.
        exact = (names | letters | {name for name in told if name.startswith(deadletters.PREFIX)}) - {""}
        rows: dict[str, QueueInfo] = {}
        with self._visit() as visit:
            for name in sorted(exact | set(told)):
                one = told.get(name, {})
                counts = visit.count(name) if name in exact else None
                if counts is None and not one:
                    continue
                ready, consumers = counts or (_number(one, "messages_ready"), _number(one, "consumers"))
                unsettled = max(self._out.get(name, 0), _number(one, "messages_unacknowledged"))
                dead = name.startswith(deadletters.PREFIX) or name in letters
                rows[name] = QueueInfo(name, ready, 0, unsettled, consumers, dead)
        return _with_delays(rows)

    def _ask_management(self) -> tuple[dict[str, dict[str, Any]], set[str]]:
        """Return the queues by name, and those that dead letters are sent to."""
        if self._management is None:
            return {}, set()
        try:
            told = {str(one["name"]): one for one in self._management.queues()}
            return told, self._targets(told, self._management)
        except ZocaloError as e:
            self._complain(f"{e.message}; only queues that this daemon has used are shown")
            return {}, set()

    def _targets(self, told: Mapping[str, Mapping[str, Any]], management: Management) -> set[str]:
        found, exchanges = set(), set()
        for one in told.values():
            rules = {**(one.get("effective_policy_definition") or {}), **(one.get("arguments") or {})}
            exchange = rules.get("x-dead-letter-exchange", rules.get("dead-letter-exchange"))
            key = rules.get("x-dead-letter-routing-key", rules.get("dead-letter-routing-key"))
            if exchange is None or "x-message-ttl" in rules:
                continue  # with a time to live it delays messages, and leads to where they are wanted
            if exchange:
                exchanges.add(str(exchange))
            elif key:
                found.add(str(key))
        for exchange in exchanges:
            found |= management.bound(exchange)
        return found

    def walk(self, queue: str, after: int = 0) -> Generator[DeadLetter]:
        """Yield the messages behind the one with the id `after`, in the order of the queue."""
        passed = not after
        with self._visit() as visit:
            counts = visit.count(queue)
            seen: list[int] = []
            try:
                while len(seen) < (counts[0] if counts else 0) and (found := visit.get(queue)):
                    tag, properties, body = found
                    seen.append(tag)
                    letter = _letter(queue, properties, body)
                    if passed:
                        yield letter
                    passed |= letter.id == after
            finally:
                visit.give_back(seen)
                visit.count(queue)  # answered once the queue has them again

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete messages; return how many."""
        with self._visit() as visit:
            if ids is None:
                return visit.purge(queue)
            wanted = Counter(ids)  # messages that are the same in everything have the same id
            return _walk(visit, queue, lambda letter, _: _claim(wanted, letter), lambda: wanted.total() > 0)

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Send messages back, with all that they carry; return how many."""
        wanted = None if ids is None else Counter(ids)
        with self._visit() as visit:

            def move(letter: DeadLetter, properties: Any) -> bool:
                target = destination or letter.origin
                if target == queue or (wanted is not None and not _claim(wanted, letter)):
                    return False  # where it came from is not known
                headers = {**delays.hide(properties.headers or {}), REINJECTED: True}
                headers.pop(COUNT, None)
                return visit.put(target, properties, headers, letter.body)

            return _walk(visit, queue, move, lambda: wanted is None or wanted.total() > 0)

    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message to where `route` says, with all that it carries."""
        with self._visit() as visit:
            found = visit.get(queue) if visit.count(queue) else None
            if found is None:
                return None
            tag, properties, body = found
            letter = _letter(queue, properties, body)
            target = route(letter)
            if not visit.put(target, properties, delays.hide(properties.headers or {}), body):
                raise ZocaloError(f"the broker does not take it for {target}: no such queue, or it is full")
            visit.remove(tag)
            return letter


def _walk(visit: Visit, queue: str, takes: Look, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Show each message that is there now to `takes`, which says whether to remove it.

    Returns:
        How many were removed.
    """
    counts = visit.count(queue)
    kept: list[int] = []
    taken = 0
    for _ in range(counts[0] if counts else 0):
        found = visit.get(queue) if goes_on() else None
        if found is None:
            break
        tag, properties, body = found
        if takes(_letter(queue, properties, body), properties):
            visit.remove(tag)
            taken += 1
        else:
            kept.append(tag)
    visit.give_back(kept)
    visit.count(queue)  # answered once the queue has them again
    return taken


def _claim(wanted: Counter[int], letter: DeadLetter) -> bool:
    """Say whether a message is wanted; then one less is."""
    if wanted[letter.id] <= 0:
        return False
    wanted[letter.id] -= 1
    return True


def _letter(queue: str, properties: Any, body: bytes) -> DeadLetter:
    headers = from_amqp(properties.headers or {})
    # AMQP gives messages no number: what tells them apart is what they are.
    own = {key: value for key, value in headers.items() if key != COUNT}
    number = hashlib.blake2b(repr(sorted(own.items())).encode() + body, digest_size=6)
    return DeadLetter(
        id=int.from_bytes(number.digest(), "big"),
        queue=queue,
        origin=deadletters.origin_of(headers, queue),
        reason=deadletters.reason_of(headers),
        time=deadletters.time_of(headers),
        headers=headers,
        body=body,
        properties=carried(properties),
    )


def _with_delays(rows: dict[str, QueueInfo]) -> list[QueueInfo]:
    """Count what waits in our delay queues for the queue that it goes to."""
    for name in [one for one in rows if delays.target_of(one) in rows]:
        to = rows[delays.target_of(name)]
        waiting = to.delayed + rows.pop(name).ready
        rows[to.name] = QueueInfo(to.name, to.ready, waiting, to.unsettled, to.consumers, to.dead_letters)
    return list(rows.values())


def _number(one: Mapping[str, Any], key: str) -> int:
    return int(one.get(key) or 0)


def inspect(
    name: str,
    settings: Mapping[str, Any],
    *,
    host: str,
    known: set[str],
    out: Mapping[str, int],
    complain: Callable[[str], None],
) -> RabbitInspector:
    """Return the inspector of a transport; `host` is tried first, the others as for RabbitInspector."""
    hosts = sorted(settings["hosts"], key=lambda one: one != host)
    management = None
    if settings.get("management"):
        given = {key: value for key, value in settings["management"].items() if value}
        if "username" not in given:
            given = {key: settings.get(key) for key in ("username", "password", "password_file")} | given
        management = Management(given, str(settings.get("vhost") or "/"))
    return RabbitInspector(lambda: Visit(name, settings, hosts), known, out, management, complain)
