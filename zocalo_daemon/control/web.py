"""Metrics and health by HTTP: where `metrics.listen` says, for all workers at once."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from zocalo_daemon import __version__
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.control import report
from zocalo_daemon.supervision import liveness
from zocalo_daemon.supervision.figures import Figures
from zocalo_daemon.supervision.fleet import Fleet
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.premises import Premises
from zocalo_daemon.supervision.relay import Relay
from zocalo_daemon.supervision.roster import Roster
from zocalo_daemon.supervision.slots import Service, Worker

if TYPE_CHECKING:
    from zocalo_daemon.control import metrics
    from zocalo_daemon.control.http import Answer, HttpServer

RETRY = 5.0  # seconds until a port that was taken is tried again
AGE = 0.5  # seconds that a page of metrics is answered with: who asks more often costs nothing
BACKLOG = 16


class Host(Protocol):
    """The daemon, as far as there is something to tell of it."""

    config: DaemonConfig
    premises: Premises
    loop: Loop
    figures: Figures
    roster: Roster
    relay: Relay
    fleet: Fleet

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""


class Web:
    """Listens or not, as the configuration of the daemon says."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._where: str | None = None
        self._server: HttpServer | None = None
        self._page: tuple[float, bytes] = (float("-inf"), b"")
        host.loop.after(0.0, self.refresh)  # once the loop goes round: a rehearsal opens no port

    def refresh(self) -> None:
        """Take in a new configuration."""
        wanted = self._host.config.metrics.listen
        if wanted == self._where:
            return
        if self._server:
            self._server.close()
            self._server = None
        self._where = wanted
        if wanted:
            self._open(wanted)

    def _open(self, where: str) -> None:
        # Imported by those who want it: without, the supervisor needs nothing of it.
        from zocalo_daemon.control.http import HttpServer  # noqa: PLC0415

        if where != self._where or self._server:
            return
        loop = self._host.loop
        try:
            listener = _listening(where)
        except OSError as e:
            self._host.say(40, f"metrics.listen: {where}: {e.strerror}; it is tried again every {RETRY:g} s")
            loop.after(RETRY, lambda: self._open(where))
            return
        self._server = HttpServer(listener, loop.selector, loop.after, self._answer)
        self._host.say(20, f"metrics and health at http://{where}")

    def _answer(self, path: str) -> Answer:
        from zocalo_daemon.control import health, http, metrics  # noqa: PLC0415 - as in _open

        first, _, name = path.strip("/").partition("/")
        if first == "metrics" and not name:
            return http.Answer(200, metrics.KIND, self._metrics())
        if first == "healthz":
            return health.answer(self._host.roster.slots(), name, self._hung)
        return http.Answer(404, "text/plain", b"There are /metrics, /healthz and /healthz/SERVICE[/N].\n")

    def _hung(self, worker: Worker) -> str:
        process = self._host.fleet.processes.get(worker.serial)
        if process is None or process.service.hang_timeout is None:
            return ""
        return liveness.judge(
            self._host.fleet.board.read(process.board),
            process.phase,
            since=process.since,
            limit=process.service.hang_timeout,
            now=time.monotonic(),
            stopped=process.stopped,
        ).hung

    def _metrics(self) -> bytes:
        from zocalo_daemon.control import metrics  # noqa: PLC0415 - as in _open

        now = time.monotonic()
        if now - self._page[0] > AGE:
            host = self._host
            living = self._living()
            services = {
                name: self._service(service, living.get(name, []))
                for name, service in host.roster.services.items()
            }
            transports = report.transports(
                host.config, host.figures, host.relay.state, host.relay.trouble, now
            )
            page = metrics.render(services, transports, __version__, now - host.premises.started)
            self._page = now, page
        return self._page[1]

    def _living(self) -> dict[str, list[tuple[int, tuple[int, ...]]]]:
        """Return pid and tally of each worker, by service."""
        living: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
        for process in self._host.fleet.processes.values():
            tally = self._host.fleet.board.tally(process.board)
            living.setdefault(process.service.name, []).append((process.pid, tally))
        return living

    def _service(self, service: Service, living: list[tuple[int, tuple[int, ...]]]) -> metrics.Figures:
        from zocalo_daemon.control import health, metrics  # noqa: PLC0415 - as in _open
        from zocalo_daemon.protocol import tally  # noqa: PLC0415

        figures, config = self._host.figures, service.config
        now = _sum([counts for _pid, counts in living] or [tally.NOTHING])
        slots = [slot for slot in service.slots.values() if slot.wanted]
        return metrics.Figures(
            source=self._source(config.runtime, config.name) or config.service_class,
            total=_sum([now, tuple(figures.totals.get(config.name, tally.NOTHING))]),
            living=now,
            states=tuple(str(slot.state) for slot in slots),
            ended=figures.ended.get(config.name, 0),
            in_hand=sum(figures.work(pid).in_flight for pid, _counts in living),
            unhealthy=sum(bool(health.trouble(slot, self._hung)) for slot in slots),
        )

    def _source(self, runtime: str, service: str) -> str:
        server = self._host.fleet.forkservers.get(runtime)
        known: dict[str, Any] = server.classes.get(service, {}) if server else {}
        return str(known.get("class", ""))


def _sum(tallies: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*tallies, strict=True)))


def _listening(where: str) -> socket.socket:
    address, _, port = where.rpartition(":")
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # The port of a daemon that has just ended, or of the code that this one has replaced.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.strip("[]"), int(port)))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
