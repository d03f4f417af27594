"""The relay's end of the link to the supervisor: requests in, answers and reports out (protocol/link.py)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgpack

from zocalo_daemon.brokers.base import Confirmed, Kind, Publication, Refused
from zocalo_daemon.errors import ProtocolError, Unavailable, UsageError, ZocaloError
from zocalo_daemon.protocol import control, framing, link
from zocalo_daemon.protocol.framing import Frame
from zocalo_daemon.relay.deaths import Death
from zocalo_daemon.relay.line import Closed, Line
from zocalo_daemon.relay.pool import Pool
from zocalo_daemon.relay.spooling import Spooled

if TYPE_CHECKING:
    from zocalo_daemon.relay.member import Member

OUTPUT_LIMIT = 4 * 1024 * 1024  # bytes of reports that wait for the supervisor; more are dropped
LIST_LIMIT = 1000  # dead letters in one answer
LIST_BYTES = 32 * 1024 * 1024


class Link(Line):
    """The link.

    Args:
        line: its socket.
        pool: what the requests are about.
        forfeit: called when a worker is dead; returns what it held.
        leave: called when the relay should finish and exit, with the seconds that it may take to drain.
        change: called with other transports, and which of them is the default.
    """

    def __init__(
        self,
        line: socket.socket,
        pool: Pool,
        *,
        forfeit: Callable[[Death], dict[str, Any]],
        leave: Callable[[float], None],
        change: Callable[[list[dict[str, Any]], str], None],
    ) -> None:
        super().__init__(line)
        self._pool = pool
        self._forfeit, self._leave, self._change = forfeit, leave, change
        self._decoder = framing.Decoder(link.MAX_FRAME)

    def receive(self) -> None:
        """Read once and carry out what was asked.

        Raises:
            Closed: the supervisor is gone, or speaks another language.
        """
        try:
            for frame in self._decoder.feed(self.read()):
                self._handle(frame)
        except ProtocolError:
            raise Closed from None

    def report(self, frame: Frame) -> None:
        """Send a report; dropped while the supervisor is far behind."""
        if self.pending < OUTPUT_LIMIT:
            self._send(frame)

    def _send(self, frame: Frame) -> None:
        self.write(framing.encode(frame, link.MAX_FRAME))

    def _handle(self, frame: Frame) -> None:
        number = frame.get("id")
        if type(number) is not int:
            return
        args = frame.get("args")
        try:
            operation = _OPERATIONS.get(str(frame.get("op")))
            if operation is None:
                raise UsageError(f"the relay knows no operation {frame.get('op')!r}")
            value = operation(self, number, args if isinstance(args, dict) else {})
            if value is not _LATER:
                self._send(control.ok(number, value))
        except ZocaloError as e:
            self._send(control.error(number, e))
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            problem = UsageError(f"{frame.get('op')}: wrong arguments ({type(e).__name__}: {e})")
            self._send(control.error(number, problem))

    # -- Operations

    def _publish(self, number: int, args: dict[str, Any]) -> Any:
        kinds = {"queue": Kind.QUEUE, "topic": Kind.TOPIC}
        if args.get("kind") not in kinds:
            raise UsageError("publish: kind must be 'queue' or 'topic'")
        body, headers = args["body"], args.get("headers")
        headers = {} if headers is None else headers
        if type(body) is not bytes or type(headers) is not dict:
            raise UsageError("publish: body must be bytes, headers a map")
        destination = args["destination"]
        if type(destination) is not str or not destination:
            raise UsageError("publish: destination must be the name of a queue or topic")
        expiration = args.get("expiration")
        publication = Publication(
            kinds[args["kind"]],
            destination,
            headers,
            body,
            delay=float(args.get("delay") or 0.0),
            expiration=None if expiration is None else float(expiration),
            origin=_origin(args),
        )
        member = self._pool.get(str(args.get("transport") or ""))
        member.publish_for(publication, lambda event: self._published(number, member, event))
        return _LATER

    def _published(self, number: int, member: Member, event: Confirmed | Refused) -> None:
        if isinstance(event, Spooled):
            host = member.broker.status().host
            value = {"spooled": True, "transport": member.name, "host": host, "away_since": event.since}
            self._send(control.ok(number, value))
            return
        if isinstance(event, Confirmed):
            self._send(control.ok(number, None))
            return
        kind = Unavailable if event.code in ("full", "failed") else ZocaloError
        self._send(control.error(number, kind(event.reason, {"code": event.code})))

    def _queues(self, _number: int, args: dict[str, Any]) -> Any:
        name = args.get("transport")
        members = [self._pool.get(str(name))] if name else list(self._pool)
        patterns = _patterns(args, "patterns")
        return [
            {"transport": member.name, **asdict(queue)}
            for member in members
            for queue in member.broker.queues()
            if any(fnmatchcase(queue.name, pattern) for pattern in patterns)
        ]

    def _dlq_list(self, _number: int, args: dict[str, Any]) -> Any:
        limit = min(LIST_LIMIT, int(args.get("limit") or LIST_LIMIT))
        after = int(args.get("after") or 0)
        found: list[dict[str, Any]] = []
        size = 0
        for name, place, queue in self._pool.dead_letter_queues(_patterns(args)):
            for letter in place.dead_letters(queue, limit - len(found), after):
                size += len(letter.body)
                if found and size > LIST_BYTES:
                    return found
                found.append({"transport": name, **asdict(letter), "headers": _plain(letter.headers)})
            if len(found) >= limit:
                break
        return found

    def _dlq_purge(self, _number: int, args: dict[str, Any]) -> Any:
        ids = _ids(args)
        queues = self._pool.dead_letter_queues(_patterns(args))
        return {"count": sum(place.purge(queue, ids) for _, place, queue in queues)}

    def _dlq_reinject(self, _number: int, args: dict[str, Any]) -> Any:
        ids, destination = _ids(args), args.get("destination")
        if destination is not None and type(destination) is not str:
            raise UsageError("dlq.reinject: destination must be the name of a queue")
        queues = self._pool.dead_letter_queues(_patterns(args))
        return {"count": sum(place.reinject(queue, ids, destination) for _, place, queue in queues)}

    def _forfeit_worker(self, _number: int, args: dict[str, Any]) -> Any:
        pid, rest = args["pid"], [args.get(key) for key in ("crash", "limit", "delivery")]
        if type(pid) is not int or any(one is not None and type(one) is not int for one in rest):
            raise UsageError("forfeit: pid must be a number, crash, limit and delivery numbers or nil")
        answer = self._forfeit(Death(pid, *rest))
        if answer["delivery"] is not None:
            answer["delivery"]["headers"] = _plain(answer["delivery"]["headers"])
        return answer

    def _transports(self, _number: int, args: dict[str, Any]) -> Any:
        self._change(list(args["transports"]), str(args["default_transport"]))
        return None

    def _exit(self, _number: int, args: dict[str, Any]) -> Any:
        self._leave(float(args.get("drain") or 0.0))
        return None


_LATER = object()  # the answer comes when the broker has confirmed

_OPERATIONS: dict[str, Callable[[Link, int, dict[str, Any]], Any]] = {
    "publish": Link._publish,
    "queues": Link._queues,
    "dlq.list": Link._dlq_list,
    "dlq.purge": Link._dlq_purge,
    "dlq.reinject": Link._dlq_reinject,
    "forfeit": Link._forfeit_worker,
    "transports": Link._transports,
    "exit": Link._exit,
}


def _origin(args: dict[str, Any]) -> tuple[str, int] | None:
    origin = args.get("origin")
    if origin is None:
        return None
    if not isinstance(origin, list) or [type(part) for part in origin] != [str, int]:
        raise UsageError("publish: origin must be a client and a number")
    return origin[0], origin[1]


def _plain(value: Any) -> Any:
    """Return a header as the link can carry it: maps with string keys, no extension types."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, msgpack.ExtType):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, bytes, int, float, bool, type(None))) else str(value)


def _patterns(args: dict[str, Any], key: str = "queues") -> list[str]:
    patterns = args.get(key) or ["*"]
    if not isinstance(patterns, list) or not all(isinstance(one, str) for one in patterns):
        raise UsageError(f"{key} must be a list of names or patterns")
    return patterns


def _ids(args: dict[str, Any]) -> list[int] | None:
    ids = args.get("ids")
    if ids is not None and (not isinstance(ids, list) or not all(type(one) is int for one in ids)):
        raise UsageError("ids must be a list of numbers")
    return ids
