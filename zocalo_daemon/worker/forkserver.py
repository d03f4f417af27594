"""An interpreter with the services of one runtime imported, which forks workers and does nothing else.

Single-threaded: a fork copies only the thread that forks, and a lock that another one held stays locked.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import platform
import signal
import socket
import sys
import threading
from typing import Any

import msgpack
import workflows

from zocalo_daemon import linux, strays
from zocalo_daemon.errors import ConfigError, ProtocolError, ZocaloError
from zocalo_daemon.protocol import channel as protocol
from zocalo_daemon.site.configuration import Configuration
from zocalo_daemon.worker import dial, layout, lookup, records, traces, trail
from zocalo_daemon.worker.board import open_board, workers_of
from zocalo_daemon.worker.fingerprint import fingerprint
from zocalo_daemon.worker.forking import Loaded, serve
from zocalo_daemon.worker.launch import BOARD, CHANNEL, SETTINGS
from zocalo_daemon.worker.main import set_title
from zocalo_daemon.worker.rehearsal import rehearse

SWEEP = 5.0  # seconds for what the end of the supervisor has left
_LEFT_ALONE = {signal.SIGKILL, signal.SIGSTOP}
_TRANSPORT = "zocalo_daemon.worker.transport:RelayTransport"


def main() -> None:
    """Run the forkserver on the descriptors that it inherited, until the supervisor closes its channel."""
    with socket.socket(fileno=CHANNEL) as channel:
        channel.set_inheritable(False)
        try:
            settings = _read_settings(SETTINGS)
            _detach(settings)
            loaded = load(settings)
            loaded.board = open_board(BOARD) if settings["board"] else None
            announcement = protocol.encode(
                {
                    "event": "loaded",
                    "classes": loaded.report,
                    "python": platform.python_version(),
                    "workflows": workflows.version(),
                    "warnings": loaded.warnings,
                }
            )
        except ZocaloError as e:
            channel.send(protocol.encode({"event": "failed", "error": e.message}))
            sys.exit(1)
        with records.kept(loaded.configuration):
            rehearse()
        filling = _settle(loaded)
        try:
            told = _serve(channel, announcement, loaded, settings["parent"])
        except ProtocolError as e:
            sys.exit(f"forkserver {settings['runtime']}: {e}")
        filling.clear()
        if not told and settings["life"]:
            strays.end_groups(settings["groups"], SWEEP)
            workers = workers_of(loaded.board)
            strays.end_life(settings["life"], SWEEP, set(workers))
            trail.save_rest(loaded.board, list(workers.values()), settings["trail"])
            os._exit(1)  # to take all that was imported apart would take as long as the rest


def _serve(channel: socket.socket, announcement: bytes, loaded: Loaded, parent: int) -> bool:
    """Fork workers until told to exit; return False if the supervisor is gone."""
    # Its end is that of the channel from here on, and then there is more to do than to die.
    linux.outlive_parent()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.send(announcement)
        return serve(channel, loaded, parent)
    return False


def _settle(loaded: Loaded) -> list[Any]:
    """Leave as little as possible for each worker to do, for what it writes to it no longer shares.

    What it returns is to be kept as long as workers are forked.

    CommonService walks over all loggers when it starts: it discards their handlers, and makes loggers of
    placeholders. Handlers of signals belong to modules that were imported here, not to the services.
    """
    for service_class in loaded.classes.values():
        if isinstance(name := service_class._logger_name, str):
            logging.getLogger(name)  # CommonService asks for it
    dial.prepare()
    gc.collect()
    filling = layout.fill_gaps()
    layout.fill_heap()
    with records.kept(loaded.configuration):
        layout.gather_loggers()
    for number in signal.valid_signals() - _LEFT_ALONE:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    traces.register()  # again: an import may have changed where they go
    gc.freeze()  # the collector of a worker then never writes to what it shares with the others
    return filling


def _read_settings(descriptor: int) -> dict[str, Any]:
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    os.close(descriptor)
    try:
        settings = msgpack.unpackb(data, raw=False, strict_map_key=False)  # a site may use numbers
        return {
            "python_path": [],
            "preload": [],
            "services": {},
            "site": None,
            "board": False,
            "life": "",
            "groups": [],
            "trail": "",
            **settings,
        }
    except Exception as e:
        raise ProtocolError(f"the settings of the forkserver cannot be read: {type(e).__name__}") from None


def _detach(settings: dict[str, Any]) -> None:
    set_title(f"{settings.get('title', 'zocalod')}: forkserver {settings['runtime']}")
    strays.hide_setting_of_titles()
    strays.mark_forkserver()
    if not linux.die_with_parent(settings["parent"]):
        sys.exit(1)
    with contextlib.suppress(PermissionError):  # it leads a group already, if it was started so
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # By line, for the workers too, which write to their own pipes through these objects. A print of what
    # cannot be encoded is no reason to fail in the middle of a message.
    sys.stdout, sys.stderr = (
        os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        for fd in (1, 2)
    )
    traces.register()
    if "umask" in settings:
        os.umask(settings["umask"])


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
    with records.Warnings() as told:
        loaded = Loaded(_transport_class(settings), _configuration(settings["site"]))
    loaded.warnings += [f"{line} (runtime {settings['runtime']})" for line in told.lines]
    specs: dict[str, str] = settings["services"]
    points = lookup.installed() if any(":" not in spec for spec in specs.values()) else {}
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
            loaded.warnings += lookup.hidden(spec, points)
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
