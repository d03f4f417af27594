"""Where the log records of a service go: to the supervisor, and from there on as the site wants it."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import workflows

from zocalo_daemon.worker.pipes import Frontend

_OF_EXCEPTION = "workflows_exc_"


def prepare(service: Any, frontend: Frontend, configuration: Any) -> None:
    """Have the service's `initialize_logging` leave what belongs to the site, if there is one."""
    if not configuration.active_environments:
        return
    discard = service.initialize_logging

    def initialize_logging() -> None:
        with kept(configuration):
            discard()
        if attach := getattr(configuration.logging, "attach", None):
            attach()
        frontend.pass_on = lambda record: _pass_on(record, service)

    service.initialize_logging = initialize_logging


def kept(configuration: Any) -> contextlib.AbstractContextManager[None]:
    """Keep handlers of the site while all handlers of the process are discarded."""
    if not configuration.active_environments:
        return contextlib.nullcontext()
    from zocalo_daemon.site import logs  # noqa: PLC0415  what a worker does not need costs it memory all the same

    return logs.kept()


class Warnings(logging.Handler):
    """Collects what the site configuration warns of while it is in use as a context, as `lines`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def __enter__(self) -> Warnings:
        self._logger = logging.getLogger("zocalo.configuration")
        self._propagate, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagate

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a record."""
        self.lines.append(record.getMessage())


def _pass_on(record: logging.LogRecord, service: Any) -> None:
    """Give a record to the handlers of the site, with the fields that the frontend of workflows adds."""
    from workflows.util import generate_unique_host_id  # noqa: PLC0415  as above

    from zocalo_daemon.site import logs  # noqa: PLC0415

    if not logs.in_use():
        return
    for name in [name for name in vars(record) if name.startswith(_OF_EXCEPTION)]:
        setattr(record, name.removeprefix(_OF_EXCEPTION), vars(record).pop(name))
    vars(record).update(
        workflows_host=generate_unique_host_id(),
        workflows_service=service.get_name(),
        workflows_serviceclass=type(service).__name__,
        workflows_workflows=workflows.version(),
    )
    logs.handle(record)
