"""One worker: a process that the forkserver has forked becomes an instance of a service."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # see _become_worker
import atexit
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import Any, NoReturn

from zocalo_daemon import linux, strays
from zocalo_daemon.worker import groups, identity, idle, records, traces, trail
from zocalo_daemon.worker.board import Notes, scrap
from zocalo_daemon.worker.company import COMPANY
from zocalo_daemon.worker.lookup import describe
from zocalo_daemon.worker.pipes import Commands, Frontend
from zocalo_daemon.worker.recycling import limiter

try:
    import setproctitle
except ImportError:  # a foreign interpreter need not have it
    setproctitle = None  # type: ignore[assignment]


@dataclass
class Job:
    """What a worker is to do.

    Args:
        instance: "spotfinder/0".
        parent: pid of the supervisor.
        request: the map `worker` of the fork request, see protocol/channel.py.
        channel: descriptor of its channel to the supervisor.
        log: descriptor that its stdout and stderr go to.
        serial: the supervisor's number of this worker.
        configuration: what services get as environment["config"].
        board: what it notes its progress on; None if nobody reads that.
        inside: the control group that it was forked into, or "".
    """

    instance: str
    parent: int
    request: dict[str, Any]
    service_class: type[Any]
    transport_class: type[Any]
    configuration: Any
    channel: int
    log: int
    serial: int = 0
    board: memoryview | None = None
    inside: str = ""


def set_title(title: str) -> None:
    """Set what `ps` shows for this process."""
    if setproctitle is not None:
        setproctitle.setproctitle(title)
    else:
        linux.set_thread_name(title.rpartition(": ")[2])


def run(job: Job) -> NoReturn:
    """Be the worker until it ends: exit status 0 after a shutdown, 1 after an error."""
    status = 1
    try:
        _redirect(job.log)
        _become_worker(job)
        status = serve(job, *_wake_pipe(), _notes(job))
    except BaseException as e:
        sys.stderr.write(f"{job.instance} cannot run: {describe(e)}\n")
    finally:
        _leave(status)


def _redirect(log: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    traces.direct(log)
    os.close(log)
    if null > 2:
        os.close(null)


def _become_worker(job: Job) -> None:
    """Detach from the forkserver: own session and process group, name, user and priorities.

    The forkserver has prepared what can be prepared before the fork, see its `_settle`.
    """
    os.setsid()
    if not linux.die_with_parent(job.parent):
        raise RuntimeError(f"the supervisor {job.parent} is not its parent")
    # Not signal.signal, which makes an enumeration of each handler: 100 KiB more for each worker.
    _signal.signal(signal.SIGINT, signal.default_int_handler)
    set_title(job.request.get("title") or f"zocalod: {job.instance}")
    os.environ["ZOCALO_SERVICE_INSTANCE"] = job.instance
    strays.mark(job.serial)
    groups.enter(job.request, job.inside)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:  # `random` reseeds itself after a fork; numpy's global generator does not
        numpy_random.seed()
    identity.assume(job.request, job.parent)
    gc.enable()


def _wake_pipe() -> tuple[int, int]:
    """Return the pipe that SIGTERM writes to, whatever the main thread is doing.

    The C handler of set_wakeup_fd writes at once, even while a service is in a long call of a C library; the
    Python handler is for services that set a wake-up descriptor of their own (asyncio does).
    """
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def on_term(_number: int, _frame: Any) -> None:
        wake(write)

    _signal.signal(signal.SIGTERM, on_term)
    signal.siginterrupt(signal.SIGTERM, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def in_child() -> None:
        # What a service forks is not the worker: terminate() must end it, and must not drain the worker.
        signal.set_wakeup_fd(-1)
        if signal.getsignal(signal.SIGTERM) is on_term:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    os.register_at_fork(after_in_child=in_child)
    return read, write


def wake(descriptor: int) -> None:
    """Have Commands drain; safe in a signal handler, and a full pipe says the same already."""
    with contextlib.suppress(BlockingIOError):
        os.write(descriptor, b"\0")


def _notes(job: Job) -> Notes:
    number = job.request.get("board") or 0
    notes = Notes(job.board, number) if job.board is not None and number else Notes(scrap(), 0)
    notes.trail = trail.of_worker(job.board, number, job.instance, job.request, job.channel)
    os.register_at_fork(after_in_child=notes.detach)
    return notes


def serve(job: Job, read: int, write: int, notes: Notes) -> int:
    """Run the service of a job and return its exit status.

    Args:
        read, write: the pipe that makes it drain, see `wake`.
        notes: where its transport notes what it does.
    """
    channel = socket.socket(fileno=job.channel)
    frontend = Frontend(channel, drain=lambda: wake(write))
    limit = limiter(notes, frontend.spent)
    limit(job.request)
    transport = None
    try:
        transport = job.transport_class.for_worker(
            job.request["relay"],
            job.instance,
            job.request.get("transport") or "",
            job.request.get("secret") or "",
            notes,
        )
        environment = {
            "config": job.configuration,
            # as zocalo.service decides it
            "live": bool({"live", "default"} & set(job.configuration.active_environments)),
            **(job.request.get("environment") or {}),
        }
        service = job.service_class(environment=environment)
        if job.request.get("verbose") and job.configuration.logging:
            job.configuration.logging.verbosity = 1  # as `zocalo.service -v`
        COMPANY.first, COMPANY.socket = transport, job.request.get("first_relay")
        frontend.name = str(service.get_name())
        service.connect(frontend=frontend, commands=Commands(channel, read, COMPANY.drain, limit))
        service.transport = transport
        _prepare(service, frontend, job)
        service.start(verbose_log=bool(job.request.get("verbose")))
    except BaseException as e:  # what CommonService lets pass: SystemExit, its constructor, in_shutdown()
        frontend.error(e, show=True)
    if transport is not None:
        _disconnect(transport, frontend)
    return 1 if frontend.failed else 0


def _prepare(service: Any, frontend: Frontend, job: Job) -> None:
    """Keep CommonService from letting timers starve, and from writing critical records to the console too.

    The console leads to the same log here. Traces are made where the site wants them.
    """
    idle.attend(service)
    prepare = service.initialize_logging

    def initialize_logging() -> None:
        prepare()
        root = logging.getLogger()
        for handler in root.handlers[:]:
            if type(handler) is logging.StreamHandler and handler.level == logging.CRITICAL:
                root.removeHandler(handler)

    service.initialize_logging = initialize_logging
    records.prepare(service, frontend, job.configuration)
    if where := job.configuration.opentelemetry:
        from zocalo_daemon.site import tracing  # noqa: PLC0415  what is not configured costs no memory

        tracing.prepare(service, service.transport, job.instance, where)


def _disconnect(transport: Any, frontend: Frontend) -> None:
    try:
        COMPANY.disconnect()
        if transport.is_connected():
            transport.disconnect()
    except Exception as e:
        frontend.error(e, show=True)
    COMPANY.first = None


def _leave(status: int) -> NoReturn:
    """End now. The interpreter's own way waits for every non-daemon thread that the service has left."""
    try:
        left = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
        if left:
            sys.stderr.write(f"ending with threads still running: {', '.join(left)}\n")
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
