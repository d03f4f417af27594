"""What follows the end of a worker besides its replacement: the relay is told, a crash report is written.

Nothing here holds up the replacement. The cause is known at once; the report waits until the relay has said
which message the worker had in hand, or for PATIENCE, and is written when the loop has time for it. A storm
of crashes writes no more than FEW reports of a service in each second; the next report counts the others.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision import autopsy, causes, oom, traces
from zocalo_daemon.supervision.causes import Cause, Death, Deed
from zocalo_daemon.supervision.events import Exit
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.liveness import Phase
from zocalo_daemon.supervision.logs import EventBook
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.oom import Evidence
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.reports import Reports
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Worker
from zocalo_daemon.supervision.trail import Trail
from zocalo_daemon.supervision.worker_process import Process
from zocalo_daemon.values import Record

PATIENCE = 3.0  # seconds for the relay to answer
FEW = 10  # reports of one service in one second
PAUSE = 0.02  # seconds between two reports that are written: the loop has more urgent things to do
WAITING = 200  # reports that wait to be written, before further crashes are only counted


class _Pending(Record):
    """A report on its way: `delivery` is what the relay has said."""

    report: dict[str, Any]
    delivery: dict[str, Any] | None = None
    queued: bool = False


class Host(Protocol):
    """What this needs of the daemon."""

    config: DaemonConfig
    relays: list[Relay]
    roster: Roster
    fleet: Fleet
    loop: Loop
    events: EventBook

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""


class Crashes:
    """Tells the relay of deaths, and keeps reports of those that were crashes."""

    def __init__(self, host: Host, reports: Reports) -> None:
        self.reports, self.trail = reports, Trail(host)
        self._host = host
        self._latest: dict[str, int] | None = None  # report number by instance; None until it is asked for
        self._oom = oom.own(time.monotonic)
        self._recent: dict[str, deque[float]] = {}  # when reports of a service were begun
        self._left_out: dict[str, int] = {}  # by service
        self._pending: set[_Pending] = set()
        self._queue: deque[_Pending] = deque()
        self._writable = True

    def ended(self, process: Process, exit_: Exit) -> str:
        """A worker has ended: see to what follows, and return why it has."""
        known = self._host.roster.worker(process.serial)
        self.trail.ended(process.board)
        entry = self._host.fleet.board.read(process.board) if process.board else None  # 0: the board was full
        dump = traces.find([item["text"] for item in process.tail.items])
        cause = self._cause(process, known, exit_, traces.place(dump))
        number, pending = None, None
        if known is not None and cause.crash:
            number = self._number(known.slot.service.config.name)
            if number:
                if self._latest is not None:
                    self._latest[process.instance] = number
                left_out = self._left_out.pop(known.slot.service.config.name, 0)
                pending = _Pending(
                    autopsy.of_death(
                        number, process, known, exit_, cause, dump=dump, entry=entry, not_reported=left_out
                    )
                )
                self._pending.add(pending)
                self._host.loop.after(PATIENCE, lambda: self._complete(pending))
        at = None if entry is None else entry.delivery
        self.trail.died(process.board, at, cause.text, number if cause.crash else None)
        self._forfeit(process, known, entry, number if cause.blamed else None, pending)
        return cause.text

    @property
    def latest(self) -> dict[str, int]:
        """The number of the latest report of each instance that has any."""
        if self._latest is None:
            known = {summary["instance"]: summary["id"] for summary in self.reports.summaries()}
            begun = {one.report["instance"]: one.report["id"] for one in (*self._queue, *self._pending)}
            self._latest = known | begun
        return self._latest

    def finish(self) -> None:
        """Write what is not written yet: the daemon ends."""
        for pending in list(self._pending):
            self._complete(pending)
        while self._queue:
            self._write(self._queue.popleft())

    # -- The cause

    def _cause(self, process: Process, known: Worker | None, exit_: Exit, place: str) -> Cause:
        deed = _deed(process, known)
        foreign = exit_.code == -9 and deed in (Deed.NOTHING, Deed.ASKED)
        found = self._oom.look() if foreign else Evidence.NONE
        return causes.explain(
            Death(
                exit_,
                deed,
                note=known.note if known else "",
                error=process.error,
                kind=process.kind,
                place=place,
                finishing=process.phase is Phase.IN_SHUTDOWN,
                oom=Evidence.CERTAIN if foreign and process.oom_kills else found,
                memory=known.slot.service.config.limits.memory if known and process.oom_kills else None,
            )
        )

    def _number(self, service: str) -> int:
        """Return the number of a new report; 0 if there were too many just now."""
        now, recent = time.monotonic(), self._recent.setdefault(service, deque(maxlen=FEW))
        if (len(recent) == FEW and now - recent[0] < 1.0) or len(self._queue) >= WAITING:
            self._left_out[service] = self._left_out.get(service, 0) + 1
            return 0
        recent.append(now)
        return self.reports.next_number()

    # -- The relay

    def _forfeit(
        self,
        process: Process,
        known: Worker | None,
        entry: Entry | None,
        crash: int | None,
        pending: _Pending | None,
    ) -> None:
        args = {
            "pid": process.pid,
            "crash": crash,
            "limit": known.slot.service.config.max_crashes if known else None,
            "delivery": _begun(entry),
        }

        left = len(self._host.relays)

        def answer(value: Any, error: ZocaloError | None) -> None:
            nonlocal left
            left -= 1
            if error is None and isinstance(value, dict) and isinstance(value.get("delivery"), dict):
                self._told(process.instance, value["delivery"], pending)
            elif pending and not left:
                self._complete(pending)

        # All are told: a worker may have transports at two.
        for relay in self._host.relays:
            try:
                relay.request("forfeit", args, answer, again=False)
            except ZocaloError as e:
                answer(None, e)

    def _told(self, instance: str, delivery: dict[str, Any], pending: _Pending | None) -> None:
        if delivery.get("dead_lettered"):
            self.trail.dead_lettered(delivery.get("number"), str(delivery.get("reason")))
            crashes = [number for number in delivery.get("crashes", []) if number]
            text = f"a message of {delivery.get('queue')}: {delivery.get('reason')}"
            data = {
                "queue": delivery.get("queue"),
                "transport": delivery.get("transport"),
                "reports": crashes,
            }
            self._host.events.add("dead-lettered", instance, text, data)
            self._host.say(40, f"{instance} dead-lettered: {text}")
        if pending:
            pending.report |= autopsy.of_delivery(delivery)
            pending.delivery = delivery
            if pending in self._pending:
                self._complete(pending)
            elif not pending.queued:  # written already: the relay took longer than PATIENCE
                self._enqueue(pending)

    # -- Writing

    def _complete(self, pending: _Pending) -> None:
        if pending in self._pending:
            self._pending.discard(pending)
            self._enqueue(pending)

    def _enqueue(self, pending: _Pending) -> None:
        pending.queued = True
        self._queue.append(pending)
        if len(self._queue) == 1:
            self._host.loop.after(0.0, self._write_next)

    def _write_next(self) -> None:
        if self._queue:
            self._write(self._queue.popleft())
        if self._queue:
            self._host.loop.after(PAUSE, self._write_next)

    def _write(self, pending: _Pending) -> None:
        pending.queued = False
        made = pending.report
        number, instance, said = made["id"], made["instance"], f"{made['exit']['text']}: {made['text']}"
        data = {"report": number, "cause": made["cause"]}
        try:
            self.reports.write(made)
        except OSError as e:
            if self._writable:
                self._host.say(30, f"crash reports cannot be written: {e.strerror} ({e.filename})")
            self._writable = False
            self._host.events.add(
                "crashed", instance, f"{said}; its report {number} could not be written", data
            )
            return
        if not self._writable:
            self._host.say(20, "crash reports can be written again")
        self._writable = True
        more = f", and {made['not_reported']} before it without one" if made["not_reported"] else ""
        self._host.events.add("crashed", instance, f"{said}; zocaloctl crashes {number}{more}", data)
        self._host.say(30, f"{instance} crashed: zocaloctl crashes {number}{more}")


def _deed(process: Process, known: Worker | None) -> Deed:
    if known and known.hung:
        return Deed.HANG
    if known and known.note:
        return Deed.STOP_TIMEOUT if process.drained else Deed.START_TIMEOUT
    if process.killed:
        return Deed.KILLED
    return Deed.ASKED if process.drained else Deed.NOTHING


def _begun(entry: Entry | None) -> int | None:
    """Return the delivery whose callback began last, 0 for none, None if that is not known."""
    if entry is None or (entry.begun and not entry.delivery):  # it was at a broadcast, which nobody settles
        return None
    return entry.delivery
