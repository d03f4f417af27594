"""The daemon's own log to the Graylog servers of the site.

The supervisor has no threads, and may wait for nobody; here are both a process with threads and handlers that
do not wait (site/graylog).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zocalo_daemon.site.graylog import GraylogHandler

NAME = "zocalod"  # of the logger, for filters of the site


class SiteLog:
    """Nothing, until a site has such servers."""

    def __init__(self) -> None:
        self._handlers: list[GraylogHandler] = []

    def direct(self, configurations: Iterable[Mapping[str, Any]]) -> None:
        """Use the servers of these configurations (site/ownlog) from now on."""
        # A relay without one needs neither.
        from zocalo_daemon.site import logs  # noqa: PLC0415
        from zocalo_daemon.site.graylog import GraylogHandler  # noqa: PLC0415

        self.flush()
        logs.detach()
        # What a handler cannot send it must not write either: that would come back, to be sent.
        logging.raiseExceptions = False
        given = list(configurations)
        for one in given:
            if one["plugin"] == "logging":
                logs.set_up(one)  # takes the place of other handlers
        for one in given:
            if one["plugin"] == "graylog":
                logs.add(GraylogHandler(one["protocol"], one["host"], one["port"]))
        self._handlers = [one for one in logs.handlers() if isinstance(one, GraylogHandler)]

    def write(self, source: str, level: int, text: str, when: float, fields: Mapping[str, Any]) -> None:
        """Send one message; `when` is wall time in seconds."""
        if not self._handlers:
            return
        from zocalo_daemon.site import logs  # noqa: PLC0415  as above

        record = logging.LogRecord(NAME, level, "", 0, "%s", (text,), None)
        record.created, record.process, record.processName = when, os.getppid(), NAME
        vars(record).update({key: value for key, value in fields.items() if key not in vars(record)})
        record.source = source
        try:
            logs.handle(record)
        except Exception as e:  # of a filter of the site, for this record and probably for all
            self._handlers = []
            why = f"{type(e).__name__}: {e}"
            sys.stderr.write(f"nothing more of the daemon's own log goes to Graylog: {why}\n")

    def flush(self) -> None:
        """Wait a moment for what is on its way."""
        for handler in self._handlers:
            handler.flush()
