"""Carries out the operations of the control protocol, or hands them to the relay."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from zocalo_daemon.control import commands, crashes, letters, pieces, report, targets, trace
from zocalo_daemon.control.request import Request
from zocalo_daemon.errors import NotPermitted, Unavailable, ZocaloError
from zocalo_daemon.supervision.actions import Action, Finish
from zocalo_daemon.supervision.crash import Crashes
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.logs import EventBook, LogBook
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.values import Record, Value

READING_BUDGET = 0.003  # seconds of psutil per status request, which the client waits for
MAX_LINES = 10_000
STARTING = ("start", "restart", "scale", "reload", "reexec")  # what a daemon that stops must not begin


class Parts(Record):
    """What the operations work on.

    Args:
        relays: the first of them answers, for it has every transport.
        daemon: returns the `daemon` part of the status document.
    """

    roster: Roster
    figures: Figures
    logbook: LogBook
    eventbook: EventBook
    relays: list[Relay]
    perform: Callable[[list[Action]], None]
    clock: Callable[[], float]
    daemon: Callable[[], dict[str, Any]]
    transports: Callable[[], list[dict[str, Any]]]
    pids: Callable[[], list[int]]
    reload: Callable[[Request], None]
    reexec: Callable[[Request], None]
    version: Callable[[], dict[str, Any]]
    stopping: Callable[[], bool]
    crashes: Crashes


class Sources(Value):
    """Whose lines or events are asked for: these exactly ("*": all), and every instance of these services.

    An instance that is added later belongs to a service that was asked for as a whole.
    """

    exact: frozenset[str]
    services: frozenset[str]

    def __call__(self, source: str) -> bool:
        """Return whether a source is one of them."""
        return source in self.exact or source.rpartition("/")[0] in self.services or "*" in self.exact


class Operations:
    """Handles requests; one whose answer must wait is kept until its watch finishes."""

    CARRIED = ("_client", "_number")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watching: dict[int, tuple[Request, dict[str, Any]]] = {}
        self.forwarded: set[int] = set()  # numbers of requests to the relay whose answer is for a client
        self._number = 0
        # Lets the embedded broker recognise a publication that is sent again after the relay has died.
        self._client = f"zocalod-{os.urandom(16).hex()}"
        self._handlers: dict[str, Callable[[Request], None]] = {
            "status": self._status,
            "version": lambda request: request.ok(parts.version()),
            "reload": parts.reload,
            "reexec": parts.reexec,
            **dict.fromkeys(("logs", "events"), self._tell),
            "crashes": lambda request: crashes.answer(request, parts.roster, parts.crashes.reports),
            "trace": lambda request: trace.answer(request, parts.crashes.trail),
            "piece": lambda one: self._forward(one, "piece", pieces.handed_on(one, self._origin())),
            "send": lambda request: self._publish(request, "queue"),
            "broadcast": lambda request: self._publish(request, "topic"),
            **dict.fromkeys(("start", "stop", "restart", "scale"), self._change),
            **dict.fromkeys(
                ("queues", "cluster", "dlq.list", "dlq.purge", "dlq.reinject", "drain"), self._ask_relay
            ),
        }

    def handle(self, request: Request) -> None:
        """Carry out a request; errors are raised or answered."""
        if request.op in STARTING and self._parts.stopping():
            raise Unavailable("the daemon is stopping; start it again first")
        self._handlers[request.op](request)

    def finished(self, finish: Finish) -> None:
        """Answer the request that waited for this."""
        if entry := self._watching.pop(finish.watch, None):
            request, more = entry
            request.ok({**more, "results": finish.results})

    def watch(
        self,
        request: Request,
        instances: list[str],
        *,
        up: bool | None,
        timeout: float | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        """Answer once the instances are up (down), or have failed to; `more` goes with the answer."""
        parts = self._parts
        self._number += 1
        number = self._number
        self._waits(request, number, more or {})
        due = None if timeout is None else parts.clock() + timeout
        parts.perform(parts.roster.watch(number, instances, up=up, due=due))

    def _waits(self, request: Request, number: int, more: dict[str, Any]) -> None:
        def forget() -> None:
            self._watching.pop(number, None)
            self._parts.roster.unwatch(number)

        self._watching[number] = (request, more)
        request.closed = forget
        request.resume = {"watch": number, "more": more}

    def resume(self, request: Request, how: dict[str, Any] | None) -> None:
        """Go on with a request of the old code, as `Request.resume` said there."""
        relay = self._parts.relays[0]
        match how:
            case {"watch": number, "more": more}:
                self._waits(request, number, more)
            case {"follow": [exact, services]}:
                self._follow(request, Sources(frozenset(exact), frozenset(services)))
            case {"relay": frame}:
                relay.resume(frame, self._answer(request, frame["id"]))
                self._forwarded(request, frame)
            case _:
                request.error(Unavailable("the daemon has replaced its code meanwhile: ask again"))

    # -- Looking

    def _status(self, request: Request) -> None:
        parts = self._parts
        names = self._visible(request, targets.strings(request.args, "services"))
        parts.figures.read(parts.pids(), READING_BUDGET)
        document = {
            "daemon": parts.daemon(),
            "services": report.services(
                parts.roster, names, parts.figures, parts.clock(), parts.crashes.latest
            ),
            "transports": parts.transports(),
        }
        request.ok(document if request.rights.sees("zocalod") else report.limited(document))

    def _visible(self, request: Request, patterns: list[str]) -> list[str]:
        """Return the services that patterns name and the peer may see.

        Raises:
            NoSuchService, NotPermitted: a pattern names nothing; or nothing that it may see.
        """
        with request.rights.discreet():
            names = targets.find_services(self._parts.roster, patterns)
        seen = [name for name in names if request.rights.sees(f"{name}/")]
        if patterns and not seen:
            request.rights.check(request.op, names)
        return seen

    def _book(self, op: str) -> LogBook | EventBook:
        return self._parts.logbook if op == "logs" else self._parts.eventbook

    def _tell(self, request: Request) -> None:
        patterns = targets.strings(request.args, "targets")
        lines = commands.count_of(request.args, "lines", 100, MAX_LINES)
        own = {one for one in patterns if request.op == "logs" and is_own(one)}
        if own and not request.rights.sees("zocalod"):
            raise NotPermitted(
                f"{request.op} shows lines of the daemon itself only to who may see all services"
            )
        self._visible(request, [one for one in patterns if one not in own])
        wanted = self._sources(patterns, own)
        for item in self._book(request.op).latest(_shown(request, wanted), lines):
            request.chunk(item)
        if request.args.get("follow"):
            self._follow(request, wanted)
        else:
            request.ok()

    def _follow(self, request: Request, wanted: Sources) -> None:
        book, shown = self._book(request.op), _shown(request, wanted)
        self._number += 1
        number = self._number

        def follower(item: dict[str, Any]) -> None:
            if shown(item["id"]):
                request.chunk(item)

        book.follow(number, follower)
        request.closed = lambda: book.follow(number, None)
        request.resume = {"follow": [list(wanted.exact), list(wanted.services)]}

    def _sources(self, patterns: list[str], exact: set[str]) -> Sources:
        if not patterns:
            return Sources(frozenset("*"), frozenset())
        rest = [pattern for pattern in patterns if pattern not in exact]
        services = set(targets.find_services(self._parts.roster, rest)) if rest else set()
        instances = set(targets.find(self._parts.roster, rest)) if rest else set()
        whole = {
            name for name in services if all(
                slot.id in instances for slot in self._parts.roster.services[name].slots.values()
            )
        }  # fmt: skip

        return Sources(frozenset(exact | instances), frozenset(whole))

    # -- Changing

    def _change(self, request: Request) -> None:
        parts = self._parts
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
        who = f"by {request.peer.who} at {when}"
        with request.rights.discreet():
            plan = commands.plan(request.op, request.args, parts.roster, who)
        request.rights.check(request.op, plan.services)
        parts.perform(plan.change(parts.clock()))
        instances = plan.instances()
        if plan.wait:
            self.watch(request, instances, up=plan.up, timeout=plan.timeout)
            return
        slots = [(instance, parts.roster.slot(instance)) for instance in instances]
        request.ok(
            {
                "results": [
                    {
                        "id": instance,
                        "state": str(slot.state) if slot else "stopped",
                        "ok": True,
                        "message": "",
                    }
                    for instance, slot in slots
                ]
            }
        )

    def _publish(self, request: Request, kind: str) -> None:
        args = {**commands.publication(kind, request.args), **pieces.of_publication(request)}
        self._forward(request, "publish", {**args, "origin": self._origin()})

    def _origin(self) -> list[Any]:
        self._number += 1
        return [self._client, self._number]

    def _ask_relay(self, request: Request) -> None:
        """Ask the first relay, but first the others for dead letters that only they have."""
        others = self._parts.relays[1:] if request.op.startswith("dlq.") else []
        letters.gather(others, request, lambda found: self._forward(request, request.op, request.args, found))

    def _forward(self, request: Request, op: str, args: dict[str, Any], found: Sequence[Any] = ()) -> None:
        relay = self._parts.relays[0]
        number = relay.next_number
        relay.request(op, args, self._answer(request, number, found))
        self._forwarded(request, {"id": number, "op": op, "args": args})

    def _forwarded(self, request: Request, frame: dict[str, Any]) -> None:
        number = frame["id"]

        def withdraw() -> None:
            self.forwarded.discard(number)
            self._parts.relays[0].withdraw(number)

        self.forwarded.add(number)
        request.closed = withdraw
        request.resume = {"relay": frame}

    def _answer(
        self, request: Request, number: int, found: Sequence[Any] = ()
    ) -> Callable[[Any, ZocaloError | None], None]:
        def answer(value: Any, error: ZocaloError | None) -> None:
            self.forwarded.discard(number)
            if error:
                request.error(error)
            else:
                value = letters.joined(value, found)
                request.ok(letters.fitted(value) if request.op == "dlq.list" else value)

        return answer


def is_own(source: str) -> bool:
    """Return whether a source of log lines is a process of the daemon itself."""
    return source in ("zocalod", "relay") or source.startswith(("forkserver ", "relay "))


def _shown(request: Request, wanted: Sources) -> Callable[[str], bool]:
    return lambda source: wanted(source) and request.rights.sees(source)
