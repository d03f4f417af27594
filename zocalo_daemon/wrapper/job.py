"""Runs a job: tells the recipe that it starts, how it has ended, and that it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import workflows
from workflows.services.common_service import Status

from zocalo_daemon.wrapper.outcome import FAILED, SUCCESS, UNSENT
from zocalo_daemon.wrapper.signals import Interrupted, Signals
from zocalo_daemon.wrapper.status import StatusNotifications

log = logging.getLogger("zocalo.wrap")


class Outcome(NamedTuple):
    """How a job has ended.

    Args:
        exit_status: of the process, if all messages arrive.
        reason: of a failure, or "".
        status: what is broadcast.
    """

    exit_status: int
    reason: Any
    status: Status


def run(job: Any, statuses: StatusNotifications, signals: Signals) -> int:
    """Run a job and return the exit status of the process."""
    outcome = _outcome(job, statuses, signals)
    if outcome.exit_status == SUCCESS:
        sent = _attempt("success", job.success, "Finished processing")
    else:
        sent = _attempt("failure", job.failure, outcome.reason)
    statuses.set_status(outcome.status)
    sent = _attempt("completed", job.done, "Finished processing") and sent
    return outcome.exit_status if sent or outcome.exit_status > UNSENT else UNSENT


def _outcome(job: Any, statuses: StatusNotifications, signals: Signals) -> Outcome:
    started = False
    try:
        signals.arm()
        job.prepare("Starting processing")
        started = True
        statuses.set_status(Status.PROCESSING)
        log.info("Setup complete, starting processing")
        good = job.run()
        signals.disarm()
    except Interrupted as e:
        log.error("%s", e)
        return Outcome(e.exit_status, e, Status.END)
    except BaseException as e:  # of any kind: a job that calls sys.exit has not succeeded either
        signals.disarm()
        log.error("%s", str(e) or type(e).__name__, exc_info=True)
        unsent = not started and isinstance(e, workflows.Error)
        return Outcome(UNSENT if unsent else FAILED, str(e) or type(e).__name__, Status.ERROR)
    if good:
        log.info("successfully finished processing")
        return Outcome(SUCCESS, "", Status.END)
    log.error("processing failed")
    return Outcome(FAILED, "Processing failed", Status.END)


def _attempt(output: str, send: Callable[[Any], None], payload: Any) -> bool:
    """Send; False if that failed."""
    try:
        send(payload)
    except Exception as e:  # of the broker, or of a method of the site
        log.error("The message to %s was not sent: %s", output, e)
        return False
    return True
