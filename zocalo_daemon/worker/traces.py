"""Where a worker writes its tracebacks: on demand, and when a signal ends it (faulthandler)."""

from __future__ import annotations

import faulthandler
import os

from zocalo_daemon.protocol.channel import TRACE

# The log pipe once more, out of the way of a service that closes or replaces its standard streams. The last
# number for which Linux has room in every process without a larger table of descriptors.
DESCRIPTOR = 63


def direct(log: int) -> None:
    """Have tracebacks go to a log pipe.

    Where so few descriptors are allowed that this number is none, they go where standard error goes.
    """
    try:
        os.dup2(log, DESCRIPTOR, inheritable=False)
    except OSError:
        _register(2)
    else:
        _register(DESCRIPTOR)


def _register(descriptor: int) -> None:
    faulthandler.enable(file=descriptor)
    faulthandler.register(TRACE, file=descriptor, all_threads=True, chain=False)
