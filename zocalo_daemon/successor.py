"""The new code of a daemon that runs: rehearses the handover of the old code, or takes over from it.

It neither reads the configuration, which `reload` is for, nor starts a worker: it finds all of it in the
handover (control/takeover). A failure of the rehearsal is the old code's to tell. There is no way back from
the other one: if it fails, the daemon starts anew, and its workers with it. So the rehearsal does all that it
does, except what others would notice.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zocalo_daemon import __version__, linux
from zocalo_daemon.config.schema import DaemonConfig, LogConfig
from zocalo_daemon.control import renewal, takeover
from zocalo_daemon.control.reexec import READY, command, resumed
from zocalo_daemon.control.request import Request
from zocalo_daemon.daemon import Daemon
from zocalo_daemon.errors import ProtocolError, ZocaloError
from zocalo_daemon.supervision import handover
from zocalo_daemon.supervision.handover import Arrived, Rehearsed, Taking
from zocalo_daemon.supervision.logs import LogBook
from zocalo_daemon.supervision.premises import Premises

Load = Callable[[Path | None], tuple[DaemonConfig, dict[str, Any] | None]]


def main(
    how: str,
    *,
    load: Load,
    logbook: Callable[[LogConfig], LogBook],
    run: Callable[[Daemon, Callable[[], None]], None],
) -> int:
    """Do what the environment variable of a handover says, and return the exit status.

    Args:
        load: reads the configuration, for a reload.
        logbook: returns one that passes everything on to where a configuration says.
        run: runs a daemon to its end.
    """
    what, _, number = how.partition(" ")
    if what != handover.REHEARSE:
        return _take_over(number, load, logbook, run)
    try:
        return _rehearse(_document(number), load)
    except (ZocaloError, ValueError, KeyError, OSError) as e:
        sys.stderr.write(f"zocalod: {_refusal(e)}\n")
        return 1


def _document(number: str) -> dict[str, Any]:
    document = handover.read(int(number))
    os.close(int(number))
    return document


def _refusal(e: Exception) -> str:
    said = e.message if isinstance(e, ZocaloError) else f"{type(e).__name__}: {e}"
    return f"version {__version__} cannot take over: {said}"


def _rehearse(document: dict[str, Any], load: Load) -> int:
    if not linux.die_with_parent(document["pid"]):
        return 1
    daemon, _ = _successor(document, Rehearsed(), load, lambda _config: LogBook(time.time, None))
    daemon.log.latest(lambda _source: True, 1)  # unpacks every line, which is otherwise done later
    sys.stdout.write(f"{READY}{__version__}\n")
    sys.stdout.flush()
    os._exit(0)  # without tidying up what was made of nothing


def _take_over(
    number: str,
    load: Load,
    logbook: Callable[[LogConfig], LogBook],
    run: Callable[[Daemon, Callable[[], None]], None],
) -> int:
    taken = False

    def begin() -> None:
        nonlocal taken
        workers = (daemon.roster.worker(serial) for serial in daemon.fleet.processes)
        daemon.guard.resume([worker.serial for worker in workers if worker and worker.killed])
        daemon.fleet.adopt()
        daemon.start_helpers()
        daemon.renewal.begin()
        daemon.loop.after(renewal.AFTERWARDS, _set_title)
        resumed(daemon, askers, document["since"], __version__)
        taken = True

    try:
        document = _document(number)
        if document["pid"] != os.getpid():
            raise ProtocolError(f"the handover is for the process {document['pid']}")
        daemon, askers = _successor(document, Arrived(), load, logbook)
        gc.enable()
        run(daemon, begin)
    except Exception as e:
        if taken:
            raise
        _start_anew(e, logbook(LogConfig()))
    return 0


def _start_anew(e: Exception, log: LogBook) -> None:
    """Run our own command line as if nothing had been: it ends what the former daemon has left, workers too.

    By another execve(2), for anything may be half made here, which closes what has come through the first.
    """
    import traceback  # noqa: PLC0415 - as in _set_title

    from zocalo_daemon import listening  # noqa: PLC0415

    where = "".join(traceback.format_exception(e))
    log.add("zocalod", 40, f"{where}{_refusal(e)}; it starts anew, and all workers with it")
    kept = listening.passed(os.environ, os.getpid())
    for descriptor in Path("/proc/self/fd").iterdir():
        if int(descriptor.name) > 2:
            with contextlib.suppress(OSError):  # that of the directory itself
                os.set_inheritable(int(descriptor.name), int(descriptor.name) in kept)
    os.execve(sys.executable, command(), os.environ)  # noqa: S606 - our own command line


def _set_title() -> None:
    import setproctitle  # noqa: PLC0415 - it imports `logging`, for which clients would wait

    setproctitle.setproctitle("zocalod")


def _successor(
    document: dict[str, Any], taking: Taking, load: Load, logbook: Callable[[LogConfig], LogBook]
) -> tuple[Daemon, list[Request]]:
    graph = takeover.read(document)
    premises = Premises.take_over(graph["premises"], taking)
    config = graph["config"]
    daemon = Daemon(
        *(config, document["site"], premises),
        load=lambda: load(premises.file),
        logbook=logbook(config.log),
    )
    daemon.state = "running"  # or it would not have been handed over
    daemon.open_control()
    return daemon, takeover.take_over(daemon, document, graph, taking)
