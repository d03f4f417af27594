"""All processes below the supervisor: performs what the roster wants, reports what happens.

Workers and forkservers live here; the relay has a file of its own. Every descriptor is registered with the
loop's selector, with a function of the event mask as its data.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from zocalo_daemon import linux
from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.protocol import channel
from zocalo_daemon.supervision import process
from zocalo_daemon.supervision.board import Board
from zocalo_daemon.supervision.events import Exit, Exited, Forked, Report, Unloadable
from zocalo_daemon.supervision.forkserver import Descriptors, Forkserver, Request, pending, receive
from zocalo_daemon.supervision.logpipe import LogPipe
from zocalo_daemon.supervision.logs import LogBook
from zocalo_daemon.supervision.strays import Strays
from zocalo_daemon.supervision.worker_process import Process


class Fleet:
    """Workers and forkservers.

    Args:
        report: gets every event.
        on_end: gets every worker that has ended, and how; returns why, for people.
        on_change: called when a forkserver has loaded or ended: the argument says which.
        others: returns the pids of children that are not the fleet's.
        strays: sees to what workers that have ended leave.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        logbook: LogBook,
        *,
        report: Callable[[Report], None],
        on_end: Callable[[Process, Exit], str],
        on_change: Callable[[Forkserver], None],
        others: Callable[[], set[int]],
        strays: Strays,
    ) -> None:
        self._strays = strays
        self.board = Board()  # what the workers note about their progress
        self.forkservers: dict[str, Forkserver] = {}
        self.processes: dict[int, Process] = {}
        self.running: dict[Forkserver, LogPipe] = {}  # in use, old, or being tried
        self._selector = selector
        self._log = logbook
        self._report = report
        self._on_end = on_end
        self._on_change = on_change
        self._others = others

    # -- Forkservers

    def add(self, forkserver: Forkserver) -> None:
        """Watch a forkserver that was started; `use` makes it the one of its runtime."""
        source = f"forkserver {forkserver.runtime}"
        self.listen(forkserver, LogPipe(forkserver.log, source, self._selector, self._log))

    def use(self, forkserver: Forkserver) -> None:
        """Fork workers of its runtime from this one from now on; the one before it ends when it is idle."""
        old = self.forkservers.get(forkserver.runtime)
        self.forkservers[forkserver.runtime] = forkserver
        if old and old is not forkserver:
            forkserver.waiting.extend(old.waiting)
            for request in old.waiting:
                self.processes[request.serial].forkserver = forkserver
            old.waiting.clear()
            self.retire(old)
        self._send_requests(forkserver)

    def retire(self, forkserver: Forkserver) -> None:
        """Let a forkserver finish what it was asked for, and exit."""
        if self.forkservers.get(forkserver.runtime) is forkserver:
            del self.forkservers[forkserver.runtime]
        with contextlib.suppress(OSError):
            forkserver.channel.send(channel.encode({"do": "exit"}))

    def alive(self) -> list[Forkserver]:
        """Return every forkserver that has not ended."""
        return list(self.running)

    def listen(self, forkserver: Forkserver, log: LogPipe) -> None:
        """Watch a forkserver that runs."""
        self.running[forkserver] = log
        self._watch(forkserver.channel, lambda _mask: self._from_forkserver(forkserver))
        self._watch(forkserver.pidfd, lambda _mask: self._forkserver_ended(forkserver))

    def take_in(self, worker: Process) -> None:
        """Watch a worker that was asked for, as far as it is there."""
        self.processes[worker.serial] = worker
        if worker.channel:
            self._watch(worker.channel, lambda _mask: self._from_worker(worker))
        if worker.pid:
            self._watch(worker.pidfd, lambda _mask: self._worker_ended(worker))

    # -- Workers

    def spawn(self, serial: int, instance: str, service: ServiceConfig, worker: dict[str, Any]) -> None:
        """Ask for a worker; Forked, Exited or Unloadable follow."""
        forkserver = self.forkservers[service.runtime]
        number = self.board.allocate(serial)
        self.processes[serial] = Process(serial, instance, forkserver, service, number)
        forkserver.waiting.append(Request(serial, instance, {**worker, "board": number}))
        self._send_requests(forkserver)

    def drain(self, serial: int) -> None:
        """Ask a worker to finish; one that was not even forked is just forgotten."""
        if worker := self.processes.get(serial):
            if worker.channel is None:
                self._unask(worker)
                return
            worker.drained = True
            with contextlib.suppress(OSError):  # it is dying, or reads nothing: the stop time-out sees to it
                worker.channel.send(channel.encode({"do": "drain"}))

    def limit(self, worker: Process, **limits: int | None) -> None:
        """Have other limits (max_messages, max_rss) count for a worker from now on."""
        worker.limit(**limits)

    def kill(self, serial: int) -> None:
        """Kill a worker and its process group."""
        if worker := self.processes.get(serial):
            worker.killed = True
            if worker.pid:
                process.kill_group(worker.pid)
            elif worker.channel is None:
                self._unask(worker)
            else:
                worker.doomed = True

    def trace(self, serial: int) -> None:
        """Have a worker that hangs write where its threads are."""
        self._signal(serial, channel.TRACE)

    def abort(self, serial: int) -> None:
        """SIGABRT to a worker that hangs."""
        self._signal(serial, signal.SIGABRT)

    def _signal(self, serial: int, number: int) -> None:
        worker = self.processes.get(serial)
        if worker and worker.pid:
            process.send_signal(worker.pidfd, number)

    def adopt(self) -> None:
        """Reap what became our child because its parent died: processes that services had started.

        A worker whose pid the forkserver has not told yet looks the same, so nothing is reaped meanwhile.
        """
        if not any(forkserver.outstanding for forkserver in self.running):
            process.reap_orphans(self._known_pids())

    def _known_pids(self) -> set[int]:
        workers = {worker.pid for worker in self.processes.values()}
        return workers | {forkserver.pid for forkserver in self.running} | self._others()

    # -- From forkservers

    def _from_forkserver(self, forkserver: Forkserver) -> None:
        messages = forkserver.receive()
        if messages is None:
            self._unwatch(forkserver.channel)  # its pidfd tells the rest
            return
        for message in messages:
            match message.get("event"):
                case "loaded":
                    forkserver.loaded(message)
                    for warning in forkserver.warnings:
                        self._log.add("zocalod", 30, warning)
                    self._on_change(forkserver)
                case "failed":
                    forkserver.fail(str(message.get("error")))
                case "garbage":
                    forkserver.error = f"runtime {forkserver.runtime}: {message.get('error')}"
                case "forked":
                    self._forked(forkserver, message["serial"], message["pid"])
                case "fork-failed":
                    forkserver.outstanding.discard(message["serial"])
                    why = f"could not be forked: {message.get('error')}"
                    self._lost(message["serial"], why, refused=bool(message.get("refused")))
        self._send_requests(forkserver)
        self.adopt()  # which had to wait while pids were not known

    def _forked(self, forkserver: Forkserver, serial: int, pid: int) -> None:
        forkserver.outstanding.discard(serial)
        worker = self.processes.get(serial)
        if worker is None:
            return
        try:
            worker.pidfd = os.pidfd_open(pid)  # still ours, even if it has ended: nobody else reaps it
        except OSError as e:
            process.kill_group(pid)  # and `adopt` reaps it
            self._lost(serial, f"could not be watched: {linux.shortage(e.errno) or e.strerror}", refused=True)
            return
        worker.pid, worker.since = pid, time.monotonic()
        self._watch(worker.pidfd, lambda _mask: self._worker_ended(worker))
        self._report(Forked(serial, pid))
        if worker.doomed:
            process.kill_group(pid)

    def _forkserver_ended(self, forkserver: Forkserver) -> None:
        self._from_forkserver(forkserver)
        self._unwatch(forkserver.pidfd)
        exit_ = process.reap(forkserver.pid, forkserver.pidfd)
        forkserver.pidfd = -1
        self.running.pop(forkserver).finish()
        self._unwatch(forkserver.channel)
        forkserver.channel.close()
        forkserver.error = forkserver.error or f"forkserver {forkserver.runtime} ended with {exit_}"
        forkserver.state = "failed"
        for serial in list(forkserver.outstanding):
            self._lost(serial, "its forkserver died")
        forkserver.outstanding.clear()
        if forkserver.unusable:
            self._send_requests(forkserver)
        self._on_change(forkserver)

    def _send_requests(self, forkserver: Forkserver) -> None:
        if forkserver.state == "failed" and not forkserver.unusable:
            return  # it has died: the next one takes over what waits
        for serial, error in forkserver.take_unloadable():
            self._close(self.processes[serial])
            self._report(Unloadable(serial, error))
        while problem := forkserver.send_requests(self._opened):
            serial, short = forkserver.waiting.popleft().serial, linux.shortage(problem.errno)
            why = f"could not be started: {short or problem.strerror}"
            self._lost(serial, why, refused=bool(short))
            if not short:
                break  # it has gone: the next one takes over what waits

    def _opened(self, request: Request, ends: Descriptors) -> None:
        worker = self.processes[request.serial]
        worker.opened(ends.channel, LogPipe(ends.log, worker.instance, self._selector, self._log))
        self._watch(ends.channel, lambda _mask: self._from_worker(worker))

    # -- From workers

    def _from_worker(self, worker: Process) -> None:
        assert worker.channel
        messages = receive(worker.channel)
        if messages is None:
            self._unwatch(worker.channel)
            return
        for message in messages:
            event = worker.heard(message, self._log)
            if event:
                self._report(event)

    def _worker_ended(self, worker: Process) -> None:
        self._unwatch(worker.pidfd)
        process.kill_group(worker.pid)
        while worker.channel and self._is_watched(worker.channel) and pending(worker.channel):
            self._from_worker(worker)
        exit_ = process.reap(worker.pid, worker.pidfd)
        self._strays.worker_ended(worker)
        self._close(worker)
        self._report(Exited(worker.serial, exit_, self._on_end(worker, exit_)))

    def _lost(self, serial: int, error: str, *, refused: bool = False) -> None:
        if worker := self.processes.get(serial):
            self._close(worker)
            self._report(Exited(serial, Exit(1), error, refused))

    def _unask(self, worker: Process) -> None:
        worker.forkserver.withdraw(worker.serial)
        self._close(worker)
        self._report(Exited(worker.serial, Exit(0)))

    def _close(self, worker: Process) -> None:
        self.processes.pop(worker.serial, None)
        self.board.free(worker.board)
        if worker.channel:
            self._unwatch(worker.channel)
            worker.channel.close()
        if worker.log:
            worker.log.finish()

    # -- The selector

    def _watch(self, file: int | socket.socket, callback: Callable[[int], object]) -> None:
        self._selector.register(file, selectors.EVENT_READ, callback)

    def _unwatch(self, file: int | socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(file)

    def _is_watched(self, file: socket.socket) -> bool:
        return file.fileno() in self._selector.get_map()
