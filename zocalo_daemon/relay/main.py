"""The relay's process: started by the supervisor as `python -m zocalo_daemon.relay.main`.

descriptor 3    the link to the supervisor
descriptor 4    settings, a memory file with one msgpack map
descriptor 5    the listening socket of the transports
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
from setproctitle import setproctitle

from zocalo_daemon import linux, strays
from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.relay.deaths import Deaths
from zocalo_daemon.relay.errands import Errands
from zocalo_daemon.relay.link import Link
from zocalo_daemon.relay.moves import Moves
from zocalo_daemon.relay.poison import Poison
from zocalo_daemon.relay.pool import Pool, make_member, spool_places, warn_of_strangers
from zocalo_daemon.relay.server import Server

LINK, SETTINGS, LISTENER = 3, 4, 5
LOGGER = "zocalo_daemon.relay"


def read_settings(descriptor: int) -> dict[str, Any]:
    """Return the settings map.

    Raises:
        ZocaloError: it is no such map.
    """
    try:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        settings = msgpack.unpackb(data, raw=False)
    except Exception as e:  # an OSError, or one of the many kinds that msgpack raises
        raise ZocaloError(f"the relay cannot read its settings: {type(e).__name__}") from None
    missing = {"parent", "secret", "state_dir", "default_transport", "transports"} - set(settings)
    if missing:
        raise ZocaloError(f"the relay's settings lack {', '.join(sorted(missing))}")
    return dict(settings)


class _Handler(logging.Handler):
    """Passes on what the brokers log."""

    def __init__(self, log: _Log) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one record."""
        self._log(record.levelno, record.getMessage(), record.name)


class _Log:
    """Log lines go to the supervisor, and to stderr without one."""

    def __init__(self) -> None:
        self.link: Link | None = None

    def __call__(self, level: int, message: str, logger: str = LOGGER) -> None:
        if self.link is None:
            sys.stderr.write(f"{logging.getLevelName(level).lower()}: {message}\n")
            sys.stderr.flush()
            return
        self.link.report(
            {"report": "log", "level": level, "logger": logger, "message": message, "time": time.time()}
        )


def serve(settings: dict[str, Any], line: socket.socket, listener: socket.socket) -> None:
    """Open the brokers and serve until told to leave.

    Raises:
        ZocaloError: a broker can never work.
    """
    log = _Log()
    logging.basicConfig(level=logging.INFO, handlers=[_Handler(log)])
    epoch = random.SystemRandom().getrandbits(30) + 1
    # Deliveries of one life of the relay never have the number of one of another: epoch above, count below.
    # One count for all members, because a worker may use several.
    numbers = itertools.count(epoch << 32)
    state_dir = Path(settings["state_dir"])
    index, relays = settings.get("index", 0), settings.get("relays", 1)
    poison = Poison(state_dir / "poison.json", shared=relays > 1)
    places = spool_places(state_dir, index, relays)
    make = partial(make_member, state_dir=state_dir, places=places, numbers=numbers, poison=poison)
    transports = settings["transports"]
    secrets = str(settings["secret"]), str(settings.get("secret_of_workers", ""))
    pool = Pool(list(map(make, transports)), str(settings["default_transport"]), *secrets)
    pool.open()
    if problem := poison.read():
        log(logging.WARNING, problem)
    for place in places:
        warn_of_strangers(place, {str(one["name"]) for one in transports})
    moves = Moves(pool, transports, make)
    server = Server(listener, pool, epoch, log, deaths=Deaths(poison, log), moves=moves)
    errands = Errands()
    log.link = Link(line, pool, errands, forfeit=server.forfeit, leave=server.leave, change=moves.change)
    server.watch(errands.fileno(), errands.collect)
    _on_sigterm(server)
    server.attach(log.link)
    log.link.report({"report": "ready"})
    server.run()
    log.link.site_log.flush()


def _on_sigterm(server: Server) -> None:
    # The handler runs between two byte codes of the loop; the descriptor ends its wait.
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: server.leave())

    def drain() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(reader, 512)

    server.watch(reader, drain)


def main() -> int:
    """Run the relay; return its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        settings = read_settings(SETTINGS)
        if not linux.die_with_parent(int(settings["parent"])):
            return 0
        name = f"relay {settings['index']}" if settings.get("index") else "relay"
        setproctitle(f"{settings.get('title', 'zocalod')}: {name}")
        strays.hide_setting_of_titles()
        serve(settings, socket.socket(fileno=LINK), socket.socket(fileno=LISTENER))
    except ZocaloError as e:
        sys.stderr.write(f"{e.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
