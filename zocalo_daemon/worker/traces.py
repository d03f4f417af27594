"""Where a worker writes its tracebacks: on demand, and when a signal ends it (faulthandler)."""

from __future__ import annotations

import faulthandler
import os

from zocalo_daemon.protocol.channel import TRACE

# The log pipe once more, out of the way of a service that closes or replaces its standard streams. The last
# number for which Linux has room in every process without a larger table of descriptors.
DESCRIPTOR = 63


def register() -> None:
    """Have tracebacks written: in a forkserver, for it and for all that it forks."""
    direct(2)
    # Where so few descriptors are allowed that the number is none, they go where standard error goes.
    there = DESCRIPTOR if is_open(DESCRIPTOR) else 2
    faulthandler.enable(file=there)
    faulthandler.register(TRACE, file=there, all_threads=True, chain=False)


def direct(log: int) -> None:
    """Have the tracebacks of this process go to its own log pipe."""
    try:  # noqa: SIM105  each worker comes by here: what it does not touch it shares
        os.dup2(log, DESCRIPTOR, inheritable=False)
    except OSError:  # see `register`
        pass


def is_open(descriptor: int) -> bool:
    """Return whether there is a descriptor of that number."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
