"""What a job is doing, broadcast every 3 seconds, and at once when it changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import workflows
from workflows.services.common_service import Status
from workflows.util import generate_unique_host_id

INTERVAL = 3.0  # seconds
FAREWELL = 5.0  # seconds that the last broadcast may take

log = logging.getLogger("zocalo.wrap")


class StatusNotifications(threading.Thread):
    """A thread that broadcasts until it is shut down. It starts with its construction.

    Args:
        send_function: broadcasts one status, as `broadcast_status` of a transport does.
        taskname: what the job is called, the field `task`.
    """

    def __init__(self, send_function: Callable[[dict[str, Any]], None], taskname: str) -> None:
        super().__init__(name="zocalo status notification", daemon=True)
        self._send_status = send_function
        self._changed = threading.Condition()
        self._news = True
        self._ended = False
        self._trouble = ""
        self._status: dict[str, Any] = {
            "host": generate_unique_host_id(),
            "task": taskname,
            "workflows": workflows.version(),
        }
        self.set_status(Status.STARTING)
        self.start()

    def set_static_status_field(self, field: str, value: Any) -> None:
        """Have a field in every status from now on."""
        with self._changed:
            self._status[field] = value

    def set_status(self, status: Status) -> None:
        """Broadcast another status of workflows."""
        self._change(status=status.intval, statustext=status.description)

    @property
    def taskname(self) -> str:
        """What monitors show as the name of the job."""
        return str(self._status["task"])

    @taskname.setter
    def taskname(self, value: str) -> None:
        self._change(task=value)

    def _change(self, **fields: Any) -> None:
        with self._changed:
            self._status.update(fields)
            self._news = True
            self._changed.notify()

    def shutdown(self) -> None:
        """Broadcast once more and end."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def run(self) -> None:
        """Broadcast; called by the thread itself."""
        ended = False
        while not ended:
            with self._changed:
                self._changed.wait_for(lambda: self._news or self._ended, INTERVAL)
                self._news, ended = False, self._ended
                status = dict(self._status)
            self._tell(status)  # without the lock: a job that changes its name must not wait for a broker

    def _tell(self, status: dict[str, Any]) -> None:
        try:
            self._send_status(status)
        except Exception as e:  # of any transport; a job must not suffer from what only monitors miss
            if str(e) != self._trouble:
                log.warning("The status of the job is not broadcast: %s", e)
            self._trouble = str(e)
        else:
            self._trouble = ""
