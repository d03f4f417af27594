"""The relay's end of the link to the supervisor: requests in, answers and reports out (protocol/link.py)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from zocalo_daemon.brokers.base import Confirmed, Kind, Publication, Refused
from zocalo_daemon.brokers.inspector import Inspector
from zocalo_daemon.errors import ProtocolError, Unavailable, UsageError, ZocaloError
from zocalo_daemon.protocol import control, framing, link
from zocalo_daemon.protocol.framing import Frame
from zocalo_daemon.relay import inspecting
from zocalo_daemon.relay.bodies import Bodies
from zocalo_daemon.relay.cluster import Cluster
from zocalo_daemon.relay.deaths import Death
from zocalo_daemon.relay.errands import Errands
from zocalo_daemon.relay.line import Closed, Line
from zocalo_daemon.relay.pool import Pool
from zocalo_daemon.relay.sitelog import SiteLog
from zocalo_daemon.relay.spooling import Spooled

if TYPE_CHECKING:
    from zocalo_daemon.relay.member import Member

Part = Callable[[str, Inspector, dict[str, Any]], list[Any]]

OUTPUT_LIMIT = 4 * 1024 * 1024  # bytes of reports that wait for the supervisor; more are dropped


class Link(Line):
    """The link.

    Args:
        line: its socket.
        pool: what the requests are about.
        errands: where what takes time is done.
        forfeit: called when a worker is dead; returns what it held.
        leave: called when the relay should finish and exit, with the seconds that it may take to drain.
        change: called with other transports, and which of them is the default.
    """

    def __init__(
        self,
        line: socket.socket,
        pool: Pool,
        errands: Errands,
        *,
        forfeit: Callable[[Death], dict[str, Any]],
        leave: Callable[[float], None],
        change: Callable[[list[dict[str, Any]], str], None],
    ) -> None:
        super().__init__(line)
        self._pool, self._errands = pool, errands
        self._forfeit, self._leave, self._change = forfeit, leave, change
        self.cluster = Cluster(pool, self.report)
        self.site_log = SiteLog()
        self._bodies = Bodies()
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
        body = self._bodies.take(args["of"], args["size"]) if "of" in args else args["body"]
        headers = args.get("headers")
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
            ignore_namespace=bool(args.get("ignore_namespace")),
            origin=_origin(args),
            **inspecting.properties(args),
        )
        member = self._pool.get(str(args.get("transport") or ""))
        member.publish_for(publication, lambda event: self._published(number, member, event))
        return _LATER

    def _piece(self, _number: int, args: dict[str, Any]) -> Any:
        return self._bodies.keep(args["of"], args["data"])

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

    def _queues(self, number: int, args: dict[str, Any]) -> Any:
        return self._inspect(number, args, inspecting.queues, spooled=False)

    def _dlq_list(self, number: int, args: dict[str, Any]) -> Any:
        return self._inspect(
            number, args, inspecting.dead_letters, lambda found: inspecting.fitted(found, args)
        )

    def _dlq_purge(self, number: int, args: dict[str, Any]) -> Any:
        return self._inspect(number, args, inspecting.purge, _counted)

    def _dlq_reinject(self, number: int, args: dict[str, Any]) -> Any:
        return self._inspect(number, args, inspecting.reinject, _counted)

    def _drain(self, number: int, args: dict[str, Any]) -> Any:
        one = {**args, "transport": self._pool.get(str(args.get("transport") or "")).name}
        return self._inspect(number, one, inspecting.drain, _only, spooled=False)

    def _inspect(
        self,
        number: int,
        args: dict[str, Any],
        part: Part,
        whole: Callable[[list[Any]], Any] = list,
        spooled: bool = True,
    ) -> Any:
        """Ask each transport for its part, in a thread where that takes time; dead letters of spools too."""
        members = self._pool.some(str(args.get("transport") or ""))
        brokers = [] if args.get("spools") else [(one, one.broker.inspector()) for one in members]
        away = [(one.name, inspector) for one, inspector in brokers if inspector is not one.broker]
        here: list[tuple[str, Inspector]] = [
            (one.name, inspector) for one, inspector in brokers if inspector is one.broker
        ]
        here += [(one.name, letters) for one in members if spooled for letters in one.letters]
        found = [item for name, inspector in here for item in part(name, inspector, args)]
        if not away:
            return whole(found)

        work = partial(inspecting.ask_all, part, away, args)

        def done(more: list[Any], error: ZocaloError | None) -> None:
            if error and "queues" in error.data:
                error.data["queues"] += found
            self._send(control.error(number, error) if error else control.ok(number, whole(found + more)))

        self._errands.run(work, done)
        return _LATER

    def _forfeit_worker(self, _number: int, args: dict[str, Any]) -> Any:
        pid, rest = args["pid"], [args.get(key) for key in ("crash", "limit", "delivery")]
        if type(pid) is not int or any(one is not None and type(one) is not int for one in rest):
            raise UsageError("forfeit: pid must be a number, crash, limit and delivery numbers or nil")
        answer = self._forfeit(Death(pid, *rest))
        if answer["delivery"] is not None:
            answer["delivery"]["headers"] = inspecting.plain(answer["delivery"]["headers"])
        return answer

    def _transports(self, _number: int, args: dict[str, Any]) -> Any:
        self._change(list(args["transports"]), str(args["default_transport"]))
        return None

    def _statuses(self, _number: int, args: dict[str, Any]) -> Any:
        aloud, repeat = bool(args["broadcast"]), bool(args["repeat"])
        self.cluster.tell(args["statuses"], aloud=aloud, repeat=repeat)
        return None

    def _describe_cluster(self, _number: int, _args: dict[str, Any]) -> Any:
        return self.cluster.describe()

    def _ping(self, _number: int, _args: dict[str, Any]) -> Any:
        return None

    def _log_to(self, _number: int, args: dict[str, Any]) -> Any:
        self.site_log.direct(args["configurations"])

    def _log(self, _number: int, args: dict[str, Any]) -> Any:
        self.site_log.write(*args["message"])

    def _exit(self, _number: int, args: dict[str, Any]) -> Any:
        self._leave(float(args.get("drain") or 0.0))
        return None


_LATER = object()  # the answer comes when the broker has confirmed

_OPERATIONS: dict[str, Callable[[Link, int, dict[str, Any]], Any]] = {
    "publish": Link._publish,
    "piece": Link._piece,
    "queues": Link._queues,
    "dlq.list": Link._dlq_list,
    "dlq.purge": Link._dlq_purge,
    "dlq.reinject": Link._dlq_reinject,
    "drain": Link._drain,
    "forfeit": Link._forfeit_worker,
    "transports": Link._transports,
    "statuses": Link._statuses,
    "cluster": Link._describe_cluster,
    "ping": Link._ping,
    "log.to": Link._log_to,
    "log": Link._log,
    "exit": Link._exit,
}


def _origin(args: dict[str, Any]) -> tuple[str, int] | None:
    origin = args.get("origin")
    if origin is None:
        return None
    if not isinstance(origin, list) or [type(part) for part in origin] != [str, int]:
        raise UsageError("publish: origin must be a client and a number")
    return origin[0], origin[1]


def _only(parts: list[Any]) -> Any:
    return parts[0] if parts else None


def _counted(parts: list[int]) -> dict[str, int]:
    return {"count": sum(parts)}
