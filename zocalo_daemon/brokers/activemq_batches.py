"""What goes to a STOMP broker in one transaction, and what becomes of it (pure).

ActiveMQ writes to its disk before it gives the receipt of a message, also within a transaction, so many
messages share one transaction and the receipt of COMMIT. It refuses a message in one of two ways. What it
cannot make sense of it refuses at once, before it gives the receipt of an empty transaction, which is sent
behind them all and costs no disk. Of what it may not take it tells at some time later, but then refuses the
COMMIT (its setting rollbackOnlyOnAsyncException, which is on unless somebody has changed it). A batch with a
refusal in it is undone, and its jobs are sent one by one, with a receipt for each message. A broker that is
no ActiveMQ knows no such transactions: there each message has a receipt.

    SENDING     sent but for COMMIT; receipts are awaited
    COMMITTING  the broker writes; the next batch may be sent meanwhile
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Refusal = tuple[str, str]  # code as in Refused, and reason
Done = Callable[[Refusal | None], None]
Message = tuple[dict[str, str], bytes]  # headers of the SEND, and body
Command = tuple[str, dict[str, str], bytes]  # command, headers, body

MOST_MESSAGES = 256  # of one batch
MOST_BYTES = 4 * 1024 * 1024  # of one batch of several jobs
SUSPECT = 2  # connections lost with a job on its way, after which it is sent alone
ATTEMPTS = 6  # and after which it is refused, if it was alone then


@dataclass(slots=True, eq=False)
class Job:
    """Messages that are sent together or not at all; `done` is called once."""

    messages: Sequence[Message]
    done: Done
    alone: bool = False  # to be sent in a batch of its own
    attempts: int = 0

    @property
    def size(self) -> int:
        """Return the bytes of its bodies."""
        return sum(len(body) for _, body in self.messages)


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs on their way."""

    number: int
    jobs: list[Job]
    begun: bool  # a transaction of the broker
    awaited: set[str] = field(default_factory=set)  # receipts
    owners: dict[str, tuple[Job, str]] = field(default_factory=dict)  # receipt: job and destination


class Batches:
    """The jobs of one connection, from the call to the answer."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._sending: Batch | None = None
        self._committing: Batch | None = None
        self._number = 0

    def __len__(self) -> int:
        batches = [one for one in (self._committing, self._sending) if one is not None]
        return len(self._waiting) + sum(len(batch.jobs) for batch in batches)

    @property
    def is_on_its_way(self) -> bool:
        """Whether the broker owes an answer."""
        return self._sending is not None or self._committing is not None

    def add(self, job: Job) -> None:
        """Take a job."""
        self._waiting.append(job)

    def next(self, native: bool) -> list[Command]:
        """Return what to send now.

        Args:
            native: the broker is ActiveMQ, with transactions that are safe once they are answered.
        """
        if self._sending is not None or not self._waiting:
            return []
        self._number += 1
        jobs = self._take()
        batch = self._sending = Batch(
            self._number, jobs, native and sum(len(one.messages) for one in jobs) > 1
        )
        each = jobs[0].alone or not batch.begun
        begun = {"transaction": f"z{batch.number}"} if batch.begun else {}
        commands: list[Command] = [("BEGIN", begun, b"")] if begun else []
        messages = [(job, *message) for job in jobs for message in job.messages]
        for index, (job, headers, body) in enumerate(messages):
            made = {**headers, **begun}
            if each:
                receipt = made["receipt"] = f"send.{batch.number}.{index}"
                batch.awaited.add(receipt)
                batch.owners[receipt] = (job, headers["destination"])
            commands.append(("SEND", made, body))
        if not each:
            empty, receipt = {"transaction": f"e{batch.number}"}, f"sent.{batch.number}"
            commands += [("BEGIN", empty, b""), ("ABORT", {**empty, "receipt": receipt}, b"")]
            batch.awaited.add(receipt)
        return commands

    def _take(self) -> list[Job]:
        jobs = [self._waiting.popleft()]
        count, size = len(jobs[0].messages), jobs[0].size
        while self._waiting and not jobs[0].alone and not self._waiting[0].alone:
            job = self._waiting[0]
            count, size = count + len(job.messages), size + job.size
            if count > MOST_MESSAGES or size > MOST_BYTES:
                break
            jobs.append(self._waiting.popleft())
        return jobs

    def receipt(self, receipt: str) -> tuple[list[Command], list[Job]]:
        """The broker has done something; return what to send, and which jobs are safe."""
        sending, committing = self._sending, self._committing
        if committing is not None and receipt == f"commit.{committing.number}":
            self._committing = None
            return [], committing.jobs
        if sending is None or receipt not in sending.awaited:
            return [], []
        sending.awaited.remove(receipt)
        if sending.awaited:
            return [], []
        self._sending = None
        if not sending.begun:
            return [], sending.jobs
        self._committing = sending
        made = {"transaction": f"z{sending.number}", "receipt": f"commit.{sending.number}"}
        return [("COMMIT", made, b"")], []

    def error(self, receipt: str, reason: str) -> tuple[list[Command], list[tuple[Job, Refusal]]]:
        """The broker has refused something; return what to send, and which jobs are refused with what.

        Args:
            receipt: that the frame asked for which was refused; "" if that is not known.
        """
        committing, batch = self._committing, self._sending
        if committing is not None and receipt == f"commit.{committing.number}":
            self._committing = None
            return [], self._again(committing, None, f"the broker refuses a transaction: {reason}")
        if batch is None or (receipt and receipt not in batch.owners):
            return [], []
        self._sending = None
        undo: list[Command] = [("ABORT", {"transaction": f"z{batch.number}"}, b"")] if batch.begun else []
        culprit, destination = batch.owners.get(receipt, (None, batch.jobs[0].messages[0][0]["destination"]))
        return undo, self._again(batch, culprit, f"the broker refuses a message to '{destination}': {reason}")

    def _again(self, batch: Batch, culprit: Job | None, reason: str) -> list[tuple[Job, Refusal]]:
        if culprit is None and batch.jobs[0].alone:
            culprit = batch.jobs[0]
        for job in reversed(batch.jobs):
            job.alone = True  # who is refused besides is not known
            if job is not culprit:
                self._waiting.appendleft(job)
        return [(culprit, (_code(reason), reason))] if culprit is not None else []

    def lost(self) -> list[tuple[Job, Refusal]]:
        """The connection is gone: what has no answer is sent again; return what is refused instead."""
        lost = [job for one in (self._committing, self._sending) if one is not None for job in one.jobs]
        self._sending = self._committing = None
        refused: list[tuple[Job, Refusal]] = []
        for job in lost:
            job.attempts += 1
            job.alone = job.attempts >= SUSPECT
        if len(lost) == 1 and lost[0].attempts >= ATTEMPTS:
            refused = [(lost.pop(), ("invalid", "the broker ends the connection over this message"))]
        self._waiting.extendleft(reversed(lost))
        return refused


def _code(reason: str) -> str:
    # What passes is delivered again, the rest goes to the dead letters.
    full = any(word in reason.lower() for word in ("usage manager memory", "limit reached", "space"))
    return "full" if full else "invalid"
