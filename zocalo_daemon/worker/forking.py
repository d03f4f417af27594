"""How the forkserver answers requests: workers that are forked from it, and yet children of the supervisor.

A process in between forks the workers and ends at once; the kernel gives its children to the nearest
subreaper (prctl(2)), which is the supervisor. Requests that have arrived together share that process and the
time that it costs.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from zocalo_daemon import linux
from zocalo_daemon.errors import ConfigError, ProtocolError, ZocaloError
from zocalo_daemon.protocol import channel as protocol
from zocalo_daemon.worker import groups
from zocalo_daemon.worker.main import Job, run

BATCH = 8  # workers of one process in between: more would make the first one wait

_Serial = Any  # the supervisor's number, given back as it came


@dataclass
class Loaded:
    """What the workers of this runtime are made of."""

    transport_class: type[Any]
    configuration: Any
    board: memoryview | None = None  # None: nobody reads what the workers would note
    classes: dict[str, type[Any]] = field(default_factory=dict)
    report: dict[str, dict[str, str]] = field(default_factory=dict)  # service: {class, fingerprint} | {error}
    warnings: list[str] = field(default_factory=list)


def serve(channel: socket.socket, loaded: Loaded, parent: int) -> bool:
    """Fork workers until told to exit; sleeps in recvmsg while there is nothing to do.

    Args:
        parent: pid of the supervisor.

    Returns:
        False if the channel was closed instead: the supervisor is gone.

    Raises:
        OSError: the channel is broken.
        ProtocolError: so is what came from it.
    """
    told, go_on = False, True
    while go_on and not told:
        messages, go_on = _receive(channel)
        jobs: dict[_Serial, Job] = {}
        for data, descriptors in messages:
            request = protocol.decode(data)
            if request.get("do") == "exit":
                told = True
            elif request.get("do") == "fork":
                try:
                    jobs[request.get("serial")] = _job(loaded, parent, request, descriptors)
                except ZocaloError as e:
                    _say(channel, event="fork-failed", serial=request.get("serial"), error=e.message)
        if jobs:
            _fork(channel, jobs)
        for _, descriptors in messages:
            for descriptor in descriptors:
                os.close(descriptor)
    return told


def _receive(channel: socket.socket) -> tuple[list[tuple[bytes, list[int]]], bool]:
    """Wait for a message and return those that are there with their descriptors; False: it was the last."""
    messages: list[tuple[bytes, list[int]]] = []
    flags = socket.MSG_CMSG_CLOEXEC
    while len(messages) < BATCH:
        try:
            data, ancillary, _, _ = channel.recvmsg(
                protocol.MAX_MESSAGE, socket.CMSG_SPACE(2 * array.array("i").itemsize), flags
            )
        except BlockingIOError:
            break
        if not data:
            return messages, False
        messages.append((data, _descriptors(ancillary)))
        flags |= socket.MSG_DONTWAIT
    return messages, True


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return list(descriptors)


def _job(loaded: Loaded, parent: int, request: protocol.Message, descriptors: list[int]) -> Job:
    wanted = request.get("worker")
    if not isinstance(wanted, dict) or len(descriptors) != 2:
        raise ProtocolError("a fork request needs the map `worker` and two descriptors")
    service = str(wanted.get("service"))
    if service not in loaded.classes:
        unknown = {"error": f"no service {service!r} in this runtime"}
        raise ConfigError(loaded.report.get(service, unknown)["error"])
    return Job(
        instance=str(request.get("id")),
        parent=parent,
        request=wanted,
        service_class=loaded.classes[service],
        transport_class=loaded.transport_class,
        configuration=loaded.configuration,
        board=loaded.board,
        channel=descriptors[0],
        log=descriptors[1],
        serial=serial if isinstance(serial := request.get("serial"), int) else 0,
    )


def _fork(channel: socket.socket, jobs: dict[_Serial, Job]) -> None:
    """Fork a worker for each job and report their pids, or why there is none."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or every worker writes it again
    gate, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with gate:
        with inner:
            try:
                numbers = _fork_between(channel, gate, inner, list(jobs.values()))
            except OSError as e:
                numbers = [-(e.errno or errno.EAGAIN)] * len(jobs)
        # The workers start only now: their parent is the supervisor, which hears of their pids first.
        for serial, number in zip(jobs, numbers, strict=True):
            if number > 0:
                _say(channel, event="forked", serial=serial, pid=number)
            else:
                short = linux.shortage(-number)
                why = short or f"fork: {os.strerror(-number)}"
                _say(channel, event="fork-failed", serial=serial, error=why, refused=bool(short))
        with contextlib.suppress(BrokenPipeError):  # all of them were killed already
            for _ in range(sum(number > 0 for number in numbers)):
                gate.send(b"go")


def _fork_between(
    channel: socket.socket, gate: socket.socket, inner: socket.socket, jobs: Sequence[Job]
) -> list[int]:
    """Return a pid for each job, or the negative errno of its fork.

    Raises:
        OSError: the process in between cannot be forked.
    """
    between = os.fork()
    if between == 0:
        _between(channel, gate, inner, jobs)
    inner.close()
    numbers = array.array("i")
    numbers.frombytes(gate.recv(numbers.itemsize * len(jobs)))
    os.waitpid(between, 0)
    return list(numbers) or [-errno.EAGAIN] * len(jobs)


def _between(
    channel: socket.socket, gate: socket.socket, inner: socket.socket, jobs: Sequence[Job]
) -> NoReturn:
    try:
        gate.close()
        numbers = array.array("i")
        for job in jobs:
            try:
                number, job.inside = groups.fork(job.request)
                numbers.append(number)
            except OSError as e:
                numbers.append(-(e.errno or errno.EAGAIN))
            if numbers[-1] == 0:
                _worker(channel, inner, job, jobs)
        inner.send(numbers.tobytes())
    finally:
        os._exit(0)


def _worker(channel: socket.socket, inner: socket.socket, job: Job, jobs: Sequence[Job]) -> NoReturn:
    channel.close()
    for other in jobs:
        if other is not job:
            os.close(other.channel)
            os.close(other.log)
    if not inner.recv(2):  # the forkserver is gone, nobody knows of this worker
        os._exit(1)
    inner.close()
    run(job)


def _say(channel: socket.socket, **message: Any) -> None:
    channel.send(protocol.encode(message))
