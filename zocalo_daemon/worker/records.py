"""Where the log records of a service go: to the supervisor, and from there on as the site wants it."""

from __future__ import annotations

import logging
from typing import Any

import workflows
from workflows.util import generate_unique_host_id

from zocalo_daemon.site import logs
from zocalo_daemon.worker.pipes import Frontend

_OF_EXCEPTION = "workflows_exc_"


def prepare(service: Any, frontend: Frontend, configuration: Any) -> None:
    """Have the service's `initialize_logging` leave what belongs to the site, and nothing twice."""
    discard = service.initialize_logging

    def initialize_logging() -> None:
        with logs.kept():
            discard()
        _log_once()
        if isinstance(configuration.logging, logs.Logging):
            configuration.logging.attach()
        if configuration.active_environments:
            frontend.pass_on = lambda record: _pass_on(record, service)

    service.initialize_logging = initialize_logging


def _log_once() -> None:
    """Keep CommonService from writing critical records to the console too: it leads to the same log here."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler and handler.level == logging.CRITICAL:
            root.removeHandler(handler)


def _pass_on(record: logging.LogRecord, service: Any) -> None:
    """Give a record to the handlers of the site, with the fields that the frontend of workflows adds."""
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
