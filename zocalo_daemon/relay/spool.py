"""The spool of one transport: what is submitted while its broker is away waits on disk, in order.

A submission is handed to the driver while the broker is there and nothing waits, and goes to the end of the
spool otherwise. If the broker is found to be away, what the driver had been given and has not confirmed goes
to the spool as well; the driver still sends it by itself, so it is not forwarded once more.

A sender that sends again what it had sent before the relay died bears the same origin, and the store drops
what it has already. It takes a number for a repetition if it is not greater than the last one of that client.
So all that a client submits must come to the spool in its order, also when there is no room for a while.
"""

from __future__ import annotations

import itertools
import logging
import time
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zocalo_daemon.brokers.base import BrokerStatus, Confirmed, Refused
from zocalo_daemon.relay import spooling
from zocalo_daemon.relay.accounts import PASSING
from zocalo_daemon.relay.backlog import RETRY_AFTER, Backlog
from zocalo_daemon.relay.spooling import GRACE, PATIENCE, Entry, Job, Outage, Send, Spooled

_MAYBE = "; it may still arrive when the broker is back"

log = logging.getLogger(__name__)


class Spool:
    """What waits for one broker.

    Args:
        name: of the transport.
        directory: where it is kept; made when it is needed.
        limit: bytes of what is in it; 0 for no spool: what cannot wait is refused.
        numbers: of entries, unique over all lives of the relay.
        left: directories of spools to which nothing is added any more.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        limit: int,
        numbers: Iterator[int],
        *,
        left: Sequence[Path] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._limit, self._clock = limit, clock
        self._offset = wall() - clock()
        self._outage = Outage()
        self._flying: dict[Job, None] = {}  # with the driver; to be spooled if the broker is away
        self._hurried = 0  # how many of those are of senders that do not wait
        self._unkept: dict[Job, None] = {}  # with the driver; to be refused if the broker is away for long
        self._held: list[Job] = []  # of patient senders, in order, while there is no room
        self._retry_at: float | None = None  # for those, after the disk did not take one
        self._numbers = itertools.count()
        self._unheard = 0  # broadcasts, in this outage
        self._stopped = False
        self._send: Send
        self._status: Callable[[], BrokerStatus]
        self.backlogs = [Backlog(name, one, numbers, self._now) for one in (directory, *left)]
        self.backlog = self.backlogs[0]

    # -- Life

    def attach(self, send: Send, status: Callable[[], BrokerStatus]) -> None:
        """Learn how to send by the driver, and how to ask for its state; open what is left of earlier."""
        self._send, self._status = send, status
        for backlog in self.backlogs:
            backlog.send = send
            backlog.open_if_there()
            if backlog.count:
                log.warning("%s: %d submissions wait in the spool", self.name, backlog.count)

    def stop(self) -> None:
        """Forward nothing more."""
        self._stopped = True

    def close(self) -> None:
        """Let go of the disk."""
        for backlog in self.backlogs:
            backlog.close()

    @property
    def is_forwarding(self) -> bool:
        """Whether the broker is there and has something that it has not confirmed."""
        return any(one.in_flight for one in self.backlogs) and self._outage.connected

    def _now(self) -> float:
        return self._clock() + self._offset

    # -- In

    def look(self) -> BrokerStatus:
        """Return the state of the transport, and take note of it."""
        status = self._status()
        self._outage.note(status.state, self._clock())
        if self._outage.connected and self._unheard:
            log.warning("%s: %d broadcasts were dropped while it was away", self.name, self._unheard)
            self._unheard = 0
        if self.backlog.trouble:
            status.detail = "; ".join(filter(None, (status.detail, self.backlog.trouble)))
        return status

    def takes(self, *, patient: bool) -> bool:
        """Say whether what is submitted now goes to the spool."""
        self.look()
        # What the driver has been given keeps its place there: it need not be confirmed before the next one
        # follows, or a spool would never end that somebody submits to all the time.
        waits = self.backlog.waiting or bool(self._held)
        return bool(self._limit) and (waits or self._is_away(GRACE, patient=patient))

    def _is_away(self, after: float, *, patient: bool = False) -> bool:
        begins = self._outage.begins(patient=patient, after=after)
        return begins is not None and begins <= self._clock()

    def submit(self, job: Job) -> None:
        """Send or spool a message."""
        job.number = next(self._numbers)
        if not self._limit or not all(map(spooling.is_kept, job.publications)):
            self._submit_unkept(job)
        elif self.takes(patient=job.patient):
            self._adopt()
            self._keep(job)
        else:
            self._flying[job] = None
            self._hurried += not job.patient
            self._fly(job)

    def _submit_unkept(self, job: Job) -> None:
        self.look()
        if (
            job.patient
            and self._is_away(GRACE, patient=True)
            and all(map(spooling.is_news, job.publications))
        ):
            self._unheard += 1
            job.answer(Confirmed(0))
        elif not job.patient and self._is_away(PATIENCE):
            job.answer(self._refusal("failed", self._why_unkept(job)))
        else:
            if not job.patient:
                self._unkept[job] = None
            self._fly(job)

    def _fly(self, job: Job) -> None:
        job.flying = True
        self._send(job.publications, job.unit, partial(self._flown, job))

    def _flown(self, job: Job, event: Confirmed | Refused) -> None:
        job.flying = False
        if job in self._held:
            self._held.remove(job)
        if job.token:
            job.outcome = event
            self.backlog.resolve(job.token, event)
        else:
            self._settle(job, event)

    def _settle(self, job: Job, event: Confirmed | Refused) -> None:
        """Answer, and have nothing more to do with it."""
        if job in self._flying:
            del self._flying[job]
            self._hurried -= not job.patient
        self._unkept.pop(job, None)
        answer, job.answer = job.answer, _nobody
        answer(event)

    def _adopt(self) -> None:
        """Spool what the driver has."""
        jobs, self._flying, self._hurried = self._flying, {}, 0
        for job in jobs:
            self._keep(job)

    def _keep(self, job: Job) -> None:
        entry = Entry(job.publications, job.unit, self._now())
        try:
            job.data = spooling.pack(entry)
        except (TypeError, ValueError, OverflowError) as e:
            if not job.flying:
                self._settle(job, self._refusal("invalid", f"its headers cannot be stored: {e}"))
            return
        job.entry = entry
        if self._has_room(job):
            self._put(job)
        else:
            self._no_room(job, f"the spool of '{self.name}' is full: it has {self.backlog.size} bytes")

    def _has_room(self, job: Job) -> bool:
        # What the driver has is little, and must not be overtaken by what comes after it.
        fits = job.flying or self.backlog.size + len(job.data) <= self._limit
        return fits and not self._held

    def _no_room(self, job: Job, why: str) -> None:
        if job.patient and (job.flying or len(job.data) <= self._limit):
            insort(self._held, job, key=lambda one: one.number)
        else:
            self._settle(job, self._refusal("full", why + (_MAYBE if job.flying else "")))

    def _put(self, job: Job) -> None:
        assert job.entry is not None
        stored = partial(self._stored, job)
        job.token = self.backlog.put(job.entry, job.data, stored, flying=job.flying)

    def _stored(self, job: Job, event: Confirmed | Refused) -> None:
        if isinstance(event, Confirmed):
            since = self._outage.since
            since = None if since is None else since + self._offset
            self._settle(job, Spooled(event.token, since))
            return
        job.token = 0
        if job.outcome is not None:
            self._settle(job, job.outcome)
        elif event.code in PASSING:
            self._no_room(job, event.reason)
            self._retry_at = self._clock() + RETRY_AFTER
        else:
            self._settle(job, event)

    def _refusal(self, code: str, why: str) -> Refused:
        return Refused(0, code, f"{why}; {self._away_text()}" if self._outage.since is not None else why)

    def _why_unkept(self, job: Job) -> str:
        if not self._limit:
            return f"not sent, the transport '{self.name}' has no spool"
        return f"not sent, a message for '{job.publications[0].destination}' is not kept for later"

    def _away_text(self) -> str:
        status = self._status()
        since = time.strftime("%H:%M:%S", time.localtime((self._outage.since or 0.0) + self._offset))
        return f"the broker {status.host or self.name} is away since {since}"

    # -- The loop

    def poll(self, now: float) -> None:
        """Spool what has waited for long enough, and forward what can be."""
        if self._flying or self._unkept or self._held or any(one.count for one in self.backlogs):
            self.look()
            if self._is_away(GRACE, patient=True) or (self._hurried and self._is_away(GRACE)):
                self._adopt()
            if self._unkept and self._is_away(PATIENCE):
                for job in list(self._unkept):
                    self._settle(job, self._refusal("failed", self._why_unkept(job) + _MAYBE))
            self._retry(now)
        for backlog in self.backlogs:
            backlog.poll(now, forward=self._outage.connected and not self._stopped)

    def _retry(self, now: float) -> None:
        if not self._held or (self._retry_at is not None and now < self._retry_at):
            return
        self._retry_at = None
        held, self._held = self._held, []
        while held and self._has_room(held[0]):
            self._put(held.pop(0))
        self._held += held

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `poll` must be called again, or None."""
        begins = self._outage.begins
        due = [
            begins(patient=True, after=GRACE) if self._flying else None,
            begins(patient=False, after=GRACE) if self._hurried else None,
            begins(patient=False, after=PATIENCE) if self._unkept else None,
            self._retry_at if self._held else None,
        ]
        times = [max(0.0, one - now) for one in due if one is not None]
        waits = [one.timeout(now) for one in self.backlogs]
        return min((*times, *(one for one in waits if one is not None)), default=None)

    def figures(self) -> dict[str, Any]:
        """Return what `status` says of it."""
        ages = [age for one in self.backlogs if (age := one.oldest()) is not None]
        return {
            "spooled": sum(one.count for one in self.backlogs),
            "spooled_bytes": sum(one.size for one in self.backlogs),
            "spooled_since": min(ages, default=None),
        }


def _nobody(_event: Confirmed | Refused) -> None:
    """Take an answer that comes once more, to somebody who has one."""
