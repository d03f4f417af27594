"""Signals while a job runs: SIGTERM and SIGINT end it as a failure, SIGUSR2 shows where it is."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import logging
import os
import signal
import sys
import threading
from types import FrameType

from zocalo_daemon.worker import connection
from zocalo_daemon.wrapper.outcome import SIGNALLED, UNSENT

# Schedulers of clusters send SIGKILL some time after SIGTERM, Slurm by default after 30 seconds (KillWait).
PATIENCE = 20.0  # seconds for the last messages
AGAIN = 0.02  # seconds until a signal is looked at again that has come at a bad moment

log = logging.getLogger("zocalo.wrap")


class Interrupted(BaseException):
    """A signal has come. No Exception, so that a job does not take it for one of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_status = SIGNALLED + number


class Signals:
    """Raises Interrupted in the main thread, but only between `arm` and `disarm`."""

    def __init__(self) -> None:
        self._armed = False
        self._outcome = UNSENT
        self._over = False

    def install(self) -> None:
        """Handle signals from now on."""
        # Standard error may be closed, or a file of Python alone.
        with contextlib.suppress(AttributeError, ValueError, OSError, RuntimeError, io.UnsupportedOperation):
            faulthandler.enable()
            faulthandler.register(signal.SIGUSR2)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def arm(self) -> None:
        """Have a signal interrupt the job."""
        self._armed = True

    def disarm(self) -> None:
        """The job has ended: a signal leaves PATIENCE for what is still to be sent, and loses nothing."""
        self._armed, self._over = False, True

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._over:
            self._limit(UNSENT)
        elif not self._armed:
            sys.exit(SIGNALLED + number)
        elif _is_writing(frame):
            # Half a frame on the line would be the end of it, and so of the message about the failure.
            threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()
        else:
            self.disarm()
            self._limit(SIGNALLED + number)
            raise Interrupted(number)

    def _limit(self, status: int) -> None:
        def give_up() -> None:
            log.error("Gave up after %g seconds: not all messages about the job were sent", PATIENCE)
            os._exit(status)

        timer = threading.Timer(PATIENCE, give_up)
        timer.daemon = True
        timer.start()


def _is_writing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is connection.Connection._write.__code__:
            return True
        frame = frame.f_back
    return False
