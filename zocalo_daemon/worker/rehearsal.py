"""A service that starts and stops in the forkserver, before it forks the first worker.

What CPython does once to code and types that it meets for the first time (it specialises byte code, fills the
cache of attributes, numbers the types: PEP 659) it would otherwise do in every worker, each time to a page
that the workers share and that it so takes for itself. Code that is not specialised yet also counts
references to every name and module that it uses. Measured: half a MiB of memory and 1.3 of 4.7 milliseconds
of CPU time for each worker, for 20 milliseconds once.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from workflows.services.common_service import CommonService

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.site.configuration import Configuration
from zocalo_daemon.worker import groups
from zocalo_daemon.worker.board import Notes, scrap
from zocalo_daemon.worker.main import Job, serve
from zocalo_daemon.worker.transport import RelayTransport

# Python 3.11 specialises code when it has run 8 times, later versions the second time.
_TIMES = 2 if sys.version_info >= (3, 12) else 9
_PATIENCE = 5.0  # seconds that the threads may take, which is for ever


class _Service(CommonService):
    """Does what most services do when they start, and ends."""

    _service_name = "Rehearsal"
    _logger_name = "zocalo_daemon.rehearsal"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.start_kwargs: dict[str, Any] = {}  # workflows 3.3 keeps one for all classes

    def initializing(self) -> None:
        self._transport.subscribe("rehearsal", self._receive, acknowledgement=True)
        self._shutdown()

    def _receive(self, header: Any, message: Any) -> None:
        """Nothing is ever sent to it."""


def rehearse() -> None:
    """Run that service a few times against a stand-in for the relay; every thread has ended afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    threads = set(threading.enumerate())
    _forget_attributes()
    try:
        with tempfile.TemporaryDirectory(prefix="zocalod-") as directory:
            for number in range(_TIMES):
                groups.rehearse()
                _perform(Path(directory, f"{number}.sock"))
    except (OSError, RuntimeError):
        return  # no place for a socket, or no thread to be had: workers start all the same, only slower
    finally:
        for thread in set(threading.enumerate()) - threads:
            thread.join(_PATIENCE)
        root.setLevel(level)
        root.handlers[:] = handlers


def _forget_attributes() -> None:
    """Empty the interpreter's cache of attributes, which importing has filled.

    It has a place for each name that somebody else's takes. What a worker does not find there drives another
    name out, on whose page it then counts one reference less. Measured: 50 KiB for each worker.
    """
    clear = getattr(sys, "_clear_internal_caches", None)  # of Python 3.13
    (clear or sys._clear_type_cache)()


def _perform(path: Path) -> None:
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket(socket.AF_UNIX) as listener, ours:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(_PATIENCE)
        relay = threading.Thread(target=_stand_in, args=(listener,), name="rehearsal", daemon=True)
        relay.start()
        job = Job(
            instance="rehearsal/0",
            parent=0,
            request={"relay": str(path)},
            service_class=_Service,
            transport_class=RelayTransport,
            configuration=Configuration(),
            channel=theirs.detach(),
            log=-1,
        )
        serve(job, read, write, Notes(scrap(), 0))
        relay.join(_PATIENCE)
    os.close(read)
    os.close(write)


def _stand_in(listener: socket.socket) -> None:
    """Answer the questions of one transport as the relay does."""
    line, _ = listener.accept()
    decoder = protocol.decoder()
    with line:
        while data := line.recv(4096):
            for frame in protocol.frames(decoder, data):
                if frame[0] == protocol.HELLO:
                    line.sendall(protocol.encode([protocol.WELCOME, protocol.VERSION, 1]))
                elif frame[0] in (protocol.SUBSCRIBE, protocol.FLUSH):
                    line.sendall(protocol.encode([protocol.DONE, frame[1], "rehearsal"]))
