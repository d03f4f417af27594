"""An interpreter with the services of one runtime imported, which forks workers and does nothing else.

Single-threaded: a fork copies only the thread that forks, and a lock that another one held stays locked.
"""

from __future__ import annotations

import array
import contextlib
import errno
import gc
import logging
import os
import platform
import signal
import socket
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgpack

from zocalo_daemon import linux
from zocalo_daemon.errors import ConfigError, ProtocolError, ZocaloError
from zocalo_daemon.protocol import channel as protocol
from zocalo_daemon.site.configuration import Configuration
from zocalo_daemon.worker import lookup
from zocalo_daemon.worker.fingerprint import fingerprint
from zocalo_daemon.worker.launch import CHANNEL, SETTINGS
from zocalo_daemon.worker.main import Job, run, set_title

_LEFT_ALONE = {signal.SIGKILL, signal.SIGSTOP}
_TRANSPORT = "zocalo_daemon.worker.transport:RelayTransport"


@dataclass
class Loaded:
    """What the workers of this runtime are made of."""

    transport_class: type[Any]
    configuration: Any
    classes: dict[str, type[Any]] = field(default_factory=dict)
    report: dict[str, dict[str, str]] = field(default_factory=dict)  # service: {class, fingerprint} | {error}
    warnings: list[str] = field(default_factory=list)


def main() -> None:
    """Run the forkserver on the descriptors that it inherited, until the supervisor closes its channel."""
    gc.disable()  # garbage collected between imports leaves holes that every worker would write into
    with socket.socket(fileno=CHANNEL) as channel:
        channel.set_inheritable(False)
        try:
            settings = _read_settings(SETTINGS)
            _detach(settings)
            loaded = load(settings)
            announcement = protocol.encode(
                {
                    "event": "loaded",
                    "classes": loaded.report,
                    "python": platform.python_version(),
                    "warnings": loaded.warnings,
                }
            )
        except ZocaloError as e:
            channel.send(protocol.encode({"event": "failed", "error": e.message}))
            sys.exit(1)
        _settle()
        channel.send(announcement)
        serve(channel, loaded, settings["parent"])


def _settle() -> None:
    """Leave as little as possible for each worker to do, for what it writes to it no longer shares.

    CommonService walks over all loggers when it starts, which turns placeholders into loggers. Handlers of
    signals belong to modules that were imported here, not to the services.
    """
    for name in list(logging.Logger.manager.loggerDict):
        logging.getLogger(name)
    for number in signal.valid_signals() - _LEFT_ALONE:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    gc.collect()
    gc.freeze()  # the collector of a worker then never writes to what it shares with the others


def _read_settings(descriptor: int) -> dict[str, Any]:
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    os.close(descriptor)
    try:
        settings = msgpack.unpackb(data, raw=False)
        return {"python_path": [], "preload": [], "services": {}, "site": None, **settings}
    except Exception as e:
        raise ProtocolError(f"the settings of the forkserver cannot be read: {type(e).__name__}") from None


def _detach(settings: dict[str, Any]) -> None:
    set_title(f"{settings.get('title', 'zocalod')}: forkserver {settings['runtime']}")
    if not linux.die_with_parent(settings["parent"]):
        sys.exit(1)
    with contextlib.suppress(PermissionError):  # it leads a group already, if it was started so
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def load(settings: dict[str, Any]) -> Loaded:
    """Import everything that the workers need.

    Raises:
        ConfigError: a module to preload or the site configuration, which concern every service.
    """
    sys.argv = [settings.get("title", "zocalod")]
    sys.path[:0] = settings["python_path"]
    threads = set(threading.enumerate())
    for name in settings["preload"]:
        try:
            lookup.import_module(name)
        except ConfigError as e:
            raise ConfigError(f"preload of runtime {settings['runtime']}: {e.message}") from None
    loaded = Loaded(_transport_class(settings), _configuration(settings["site"]))
    specs: dict[str, str] = settings["services"]
    points = lookup.known() if any(":" not in spec for spec in specs.values()) else {}
    for service, spec in specs.items():
        try:
            found = lookup.load(spec, points)
        except ConfigError as e:
            loaded.report[service] = {"error": e.message}
        else:
            loaded.classes[service] = found
            loaded.report[service] = {
                "class": f"{found.__module__}:{found.__qualname__}",
                "fingerprint": fingerprint(found.__module__, settings["preload"]),
            }
    started = set(threading.enumerate()) - threads
    loaded.warnings += [
        f"importing the services of runtime {settings['runtime']} started the thread {t.name!r}; workers are "
        "forked and can hang: start threads in initializing()"
        for t in started
    ]
    return loaded


def _transport_class(settings: dict[str, Any]) -> type[Any]:
    module, _, name = settings.get("transport", _TRANSPORT).partition(":")
    found: type[Any] = getattr(lookup.import_module(module), name)
    return found


def _configuration(site: Any) -> Any:
    """Return the configuration that services get, with the plugins of the chosen environments activated.

    Activated here and not in each worker, so that a plugin is imported once and before the fork.
    """
    try:
        configuration = Configuration.from_plain(site)
        configuration.activate()
    except ConfigError:
        raise
    except Exception as e:  # a plugin of the site raises anything
        raise ConfigError(f"site configuration: {lookup.describe(e)}") from None
    return configuration


def serve(channel: socket.socket, loaded: Loaded, parent: int) -> None:
    """Fork workers until the channel closes; sleeps in recvmsg while there is nothing to do."""
    while True:
        data, ancillary, _, _ = channel.recvmsg(
            protocol.MAX_MESSAGE, socket.CMSG_SPACE(2 * array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC
        )
        if not data:
            return
        descriptors = _descriptors(ancillary)
        try:
            request = protocol.decode(data)
            if request.get("do") == "exit":
                return
            if request.get("do") == "fork":
                _fork(channel, loaded, parent, request, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return list(descriptors)


def _fork(
    channel: socket.socket, loaded: Loaded, parent: int, request: protocol.Message, descriptors: list[int]
) -> None:
    serial = request.get("serial")
    try:
        job = _job(loaded, parent, request, descriptors)
        pid, gate = _fork_twice(channel, job)
    except (OSError, ZocaloError) as e:
        text = e.message if isinstance(e, ZocaloError) else f"fork: {e.strerror}"
        channel.send(protocol.encode({"event": "fork-failed", "serial": serial, "error": text}))
        return
    with gate:
        # The worker starts only now that its parent is the supervisor, which hears of its pid first.
        channel.send(protocol.encode({"event": "forked", "serial": serial, "pid": pid}))
        with contextlib.suppress(OSError):  # it was killed already
            gate.send(b"go")


def _job(loaded: Loaded, parent: int, request: protocol.Message, descriptors: list[int]) -> Job:
    wanted = request.get("worker")
    if not isinstance(wanted, dict) or len(descriptors) != 2:
        raise ProtocolError("a fork request needs the map `worker` and two descriptors")
    service = str(wanted.get("service"))
    if service not in loaded.classes:
        raise ConfigError(
            loaded.report.get(service, {}).get("error", f"no service {service!r} in this runtime")
        )
    return Job(
        instance=str(request.get("id")),
        parent=parent,
        request=wanted,
        service_class=loaded.classes[service],
        transport_class=loaded.transport_class,
        configuration=loaded.configuration,
        channel=descriptors[0],
        log=descriptors[1],
    )


def _fork_twice(channel: socket.socket, job: Job) -> tuple[int, socket.socket]:
    """Fork a worker that is no child of this process; return its pid, and the gate it waits at.

    The process in between ends at once, and the kernel gives its child to the nearest subreaper (prctl(2)).

    Raises:
        OSError: there is no memory or no process to be had.
    """
    gate, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or every worker writes it again
        with inner:
            between = os.fork()
            if between == 0:
                _between(channel, job, gate, inner)
        answer = gate.recv(16)
        os.waitpid(between, 0)
        number = int(answer or -errno.EAGAIN)
        if number < 0:
            raise OSError(-number, os.strerror(-number))
    except BaseException:
        gate.close()
        raise
    return number, gate


def _between(channel: socket.socket, job: Job, gate: socket.socket, inner: socket.socket) -> NoReturn:
    try:
        gate.close()
        try:
            pid = os.fork()
        except OSError as e:
            inner.send(b"%d" % -(e.errno or errno.EAGAIN))
            os._exit(0)
        if pid:
            inner.send(b"%d" % pid)
            os._exit(0)
        channel.close()
        if not inner.recv(2):  # the forkserver is gone, nobody knows of this worker
            os._exit(1)
        inner.close()
        run(job)
    finally:
        os._exit(1)
