"""How a wrapped job can end: exit statuses, and the errors that keep it from starting."""

from __future__ import annotations

from zocalo_daemon.errors import ZocaloError

SUCCESS, FAILED = 0, 1
UNSENT = 8  # a message about the job did not arrive: the recipe does not go on as it should
SIGNALLED = 128  # plus the number of the signal, as shells say it


class NoSuchWrapper(ZocaloError):
    """There is no such class, or it cannot be loaded."""

    code = "no-such-wrapper"
    exit_status = 5


class Unusable(ZocaloError):
    """The recipe wrapper file or the site configuration cannot be used."""

    code = "config.invalid"
    exit_status = 6


class Unreachable(ZocaloError):
    """Neither a daemon nor a broker can be reached."""

    code = "not-running"
    exit_status = 7
    retryable = True
