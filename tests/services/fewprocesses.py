"""To be preloaded: while the file $FULL exists, no process can be forked, as if there were too many."""

import errno
import os
from pathlib import Path

_fork = os.fork


def fork():
    if Path(os.environ["FULL"]).exists():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork
