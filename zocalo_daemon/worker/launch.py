"""How a forkserver is started: its command line, and the checks before anything else is imported.

The supervisor imports this module for `command`, so it imports nothing but the standard library.
"""

from __future__ import annotations

import gc
import socket
import struct
import sys
from pathlib import Path

CHANNEL, SETTINGS, BOARD = 3, 4, 5  # descriptors that a forkserver inherits
OLDEST_PYTHON = (3, 10)

# The package is loaded from its path under its own name: nothing else of the daemon's environment becomes
# importable in a foreign interpreter, and a copy of zocalo_daemon installed there is not used by mistake.
# "" on sys.path would let a file in the working directory stand in for a module of the standard library.
_BOOTSTRAP = """\
import sys
if sys.path[:1] == [""]: del sys.path[0]
from importlib.util import module_from_spec, spec_from_file_location
path = sys.argv[1]
spec = spec_from_file_location("zocalo_daemon", path + "/__init__.py", submodule_search_locations=[path])
sys.modules["zocalo_daemon"] = module = module_from_spec(spec)
spec.loader.exec_module(module)
from zocalo_daemon.worker import launch
launch.main()
"""


def command(interpreter: Path | None, package: Path) -> list[str]:
    """Return the arguments that start a forkserver.

    Args:
        interpreter: of the runtime; None is the one that runs now.
        package: directory of the package zocalo_daemon.
    """
    return [str(interpreter or sys.executable), "-c", _BOOTSTRAP, str(package)]


def main() -> None:
    """Check that this interpreter can run services, then become a forkserver (descriptors 3 and 4)."""
    gc.disable()  # collecting costs time while modules are imported, and leaves gaps that workers write into
    from zocalo_daemon.worker import layout  # noqa: PLC0415  the supervisor has no use for it

    layout.pool_loggers()
    problem = _missing()
    if problem is not None:
        with socket.socket(fileno=CHANNEL) as channel:
            channel.send(_failed(problem))
        sys.exit(1)
    from zocalo_daemon.worker import forkserver  # noqa: PLC0415  only now is msgpack known to be there

    forkserver.main()


def _missing() -> str | None:
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return f"{sys.executable} is Python {sys.version.split()[0]}; services need {wanted} or later"
    for name in ("msgpack", "workflows"):
        try:
            __import__(name)
        except Exception as e:  # a broken installation raises anything
            return f"{sys.executable} cannot import {name} ({e}); install it there: pip install {name}"
    return None


def _failed(text: str) -> bytes:
    """Return {"event": "failed", "error": text} as msgpack, which may be what is missing."""
    error = text.encode("utf-8", "replace")[:4000]
    return b"\x82\xa5event\xa6failed\xa5error\xda" + struct.pack(">H", len(error)) + error
