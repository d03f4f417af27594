"""Every error that can reach a person, with its stable code and the exit status it leads to."""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes 3 ms to load, which zocaloctl does not have
if TYPE_CHECKING:
    from typing import Any


class ZocaloError(Exception):
    """An error that a person reads: one line that says what, where and what to do.

    Args:
        message: the line.
        data: further facts for programs, plain msgpack types only.
    """

    code = "failed"
    exit_status = 1
    retryable = False

    def __init__(self, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data or {}


class UsageError(ZocaloError):
    """The request makes no sense as it was given."""

    code = "usage"
    exit_status = 2


class ConfigError(ZocaloError):
    """A configuration that cannot be used; `data["problems"]` lists every problem, one line each."""

    code = "config.invalid"
    exit_status = 1


class NotPermitted(ZocaloError):
    """The peer may not do this."""

    code = "not-permitted"
    exit_status = 4


class NoSuchService(ZocaloError):
    """No service, instance or pattern of that name."""

    code = "no-such-service"
    exit_status = 5


class NoSuchReport(ZocaloError):
    """No crash report of that number."""

    code = "no-such-report"
    exit_status = 5


class NotRunning(ZocaloError):
    """No daemon answers on the control socket."""

    code = "not-running"
    exit_status = 7
    retryable = True


class Unavailable(ZocaloError):
    """Something that the request needs is not there now, and may be later."""

    code = "unavailable"
    retryable = True


class ProtocolError(ZocaloError):
    """A peer sent something that its protocol does not allow; the connection is closed."""

    code = "protocol"


def exit_status_of(code: str) -> int:
    """Return the exit status that stands for an error code received from the daemon."""
    return _EXIT_STATUS.get(code, 1)


_EXIT_STATUS = {
    cls.code: cls.exit_status
    for cls in (
        *(UsageError, ConfigError, NotPermitted, NoSuchService, NoSuchReport),
        *(NotRunning, Unavailable, ProtocolError),
    )
}
