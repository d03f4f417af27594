"""When a worker hangs (pure).

Progress is: a callback begins or ends; the service calls its transport (send, ack, subscribe, ...), or the
relay answers such a call; initializing() has returned; in_shutdown() begins. A worker hangs when it has made
none for `hang_timeout`, and

- is in initializing() or in in_shutdown(), or
- runs a callback of a message, or
- leaves a message waiting in the service's own queue, as when the function of an idle timer does not
  return, or
- is stopped by the kernel: then it can do nothing, and what the relay has sent it waits.

It does not hang while it waits for an answer of the relay: that is the relay's time, or that of a broker that
is away. Nor while there is nothing to do.
"""

from __future__ import annotations

import enum

from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.values import Value

_NANOSECOND = 1e-9


class Phase(enum.Enum):
    """Where a worker is in its life, in the words of the services."""

    INITIALIZING = "initializing()"
    SERVING = "the main loop"
    IN_SHUTDOWN = "in_shutdown()"


class Verdict(Value):
    """What a look at a worker has shown.

    Args:
        again: when to look again, for it cannot hang before; monotonic seconds.
        hung: what it makes no progress with, in words; "" if it does not hang.
    """

    again: float
    hung: str = ""


def judge(
    entry: Entry, phase: Phase, *, since: float, limit: float, now: float, stopped: str = ""
) -> Verdict:
    """Decide whether a worker hangs.

    Args:
        entry: what it has noted.
        since: when its phase began, or it was stopped or continued; monotonic seconds.
        limit: its `hang_timeout`, seconds.
        now: monotonic seconds.
        stopped: the name of the signal that has stopped it, "" if it runs.
    """
    progress = max(since, entry.progress * _NANOSECOND)
    if stopped:
        what = f": stopped by {stopped}"
    elif entry.asking:
        return Verdict(now + limit)
    elif phase is not Phase.SERVING:
        what = f" in {phase.value}"
    elif entry.begun > entry.ended:
        what = " on the delivery in hand" if entry.delivery else " on a message of a topic"
    elif entry.given > entry.begun:
        progress = max(progress, entry.handed * _NANOSECOND)
        what = " while a message waits in the service's own queue"
    else:
        return Verdict(now + limit)
    if now < progress + limit:
        return Verdict(progress + limit)
    return Verdict(now + limit, f"no progress for {limit:g} s{what}")
