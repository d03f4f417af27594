"""Where the log of this process goes: what its configuration and its standard error say."""

from __future__ import annotations

import os
import sys

from zocalo_daemon.config.schema import LogConfig
from zocalo_daemon.supervision import journal
from zocalo_daemon.supervision.outlets import File, Outlet, Stream, json_line, prioritized, text

JOURNAL = "ZOCALOD_JOURNAL"  # variable with another path of the journal's socket


def outlet(config: LogConfig) -> Outlet | None:
    """Return where the log goes; None if that is standard error, and it was closed by who started us."""
    error = sys.stderr.fileno() if sys.stderr else None
    streaming = error is not None and journal.is_stream(error, os.environ)
    # Lines for a journal that cannot be reached go to its stream, which is part of systemd.
    plain = None if error is None else Stream(error, prioritized if streaming else text)
    form = json_line if config.format == "json" else text
    if config.file is not None:
        return File(config.file, form, plain)
    if config.format == "journal" or (config.format == "auto" and streaming):
        return journal.Journal(os.environ.get(JOURNAL) or journal.SOCKET, plain)
    return Stream(error, form) if error is not None and config.format == "json" else plain
