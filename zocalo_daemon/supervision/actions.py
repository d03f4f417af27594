"""What the roster wants done: values, performed by the loop alone."""

from __future__ import annotations

from typing import Any

from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.values import Value, field


class Spawn(Value):
    """Fork a worker; `serial` names it from now on.

    Args:
        max_messages: after so many it is spent, if that is limited: a little less than configured, so that
            workers that started together are not spent together.
    """

    serial: int
    instance: str
    service: ServiceConfig
    max_messages: int | None = None


class Drain(Value):
    """Ask a worker to finish the delivery in hand and exit."""

    serial: int


class Kill(Value):
    """SIGKILL to the process group of a worker."""

    serial: int


class Trace(Value):
    """Have a worker that hangs write the tracebacks of all its threads."""

    serial: int


class Abort(Value):
    """SIGABRT to a worker that hangs: it may still say where it was, and leave a core file."""

    serial: int


class Announce(Value):
    """Tell followers of events; `event` is a stable word, `text` is for people."""

    event: str
    instance: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


class Finish(Value):
    """Every instance that `watch` waits for has come to an end: [{"id", "state", "ok", "message"}]."""

    watch: int
    results: list[dict[str, Any]]


Action = Spawn | Drain | Kill | Trace | Abort | Announce | Finish
