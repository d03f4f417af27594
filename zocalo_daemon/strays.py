"""Finds and ends what a daemon has left behind: processes without a supervisor, or without their worker.

Whatever runs below a supervisor has two variables in its environment: the life of the daemon that it belongs
to and the serial of its worker. /proc/PID/environ shows them whatever session or process group it has moved
to, and whoever is its parent by now. A worker writes its serial over that of the forkserver, in the very
memory that the kernel shows (`mark`), so that its children have it even if they are mere forks of it.

A process is killed through a pidfd, and only if it is still the one that was looked at (its start time is the
same): a number that another process has got meanwhile is never hit.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

LIFE = "ZOCALO_DAEMON_LIFE"
SERIAL = "ZOCALO_SERVICE_SERIAL"
NO_WORKER = "0" * 10  # the serial of what belongs to no worker; all serials have this length
# Without it setproctitle writes its titles over the environment, and with it only over the arguments.
_KEEP_ENVIRONMENT = "SPT_NOENV"

_libc = ctypes.CDLL(None)
_libc.getenv.restype = ctypes.c_void_p
_libc.getenv.argtypes = [ctypes.c_char_p]


def marked(env: Mapping[str, str], life: str) -> dict[str, str]:
    """Return the environment with which the supervisor starts a process of its own."""
    return {**env, LIFE: life, SERIAL: NO_WORKER, _KEEP_ENVIRONMENT: "1"}


def mark(serial: int) -> None:
    """Note in this process and all that it will start that they belong to a worker."""
    text = f"{serial:0{len(NO_WORKER)}d}"
    if os.environ.get(SERIAL) == NO_WORKER and len(text) == len(NO_WORKER):
        address = _libc.getenv(SERIAL.encode())
        if address and ctypes.string_at(address) == NO_WORKER.encode():
            ctypes.memmove(address, text.encode(), len(text))
    os.environ[SERIAL] = text


def hide_setting_of_titles() -> None:
    """Keep from services how processes of the daemon are named; call it after the first title is set."""
    os.environ.pop(_KEEP_ENVIRONMENT, None)
