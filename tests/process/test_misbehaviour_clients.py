"""Clients that crowd the control socket, or never read from it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.controlkit import Control
from tests.pulse import Host, hosting
from tests.waiting import wait_until
from zocalo_daemon.control.connection import MAX_OUTPUT
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import encode

CLIENTS = 200
LAZY = 3


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    with hosting(tmp_path_factory.mktemp("clients") / "d", {}) as host:
        yield host


def memory(host: Host) -> float:
    """Return the resident MiB of the supervisor."""
    assert host.process
    return psutil.Process(host.process.pid).memory_info().rss / 2**20


def test_two_hundred_clients_at_once(host: Host):
    """All are connected at the same time, and each gets its answers; then all of them leave at once."""
    answers: list[float] = []

    def ask(client: Control) -> None:
        for _ in range(5):
            began = time.monotonic()
            assert client.ask("status")["daemon"]["state"] == "running"
            answers.append(time.monotonic() - began)

    with host.unharmed(), contextlib.ExitStack() as crowd:
        clients = [crowd.enter_context(contextlib.closing(Control(host.socket))) for _ in range(CLIENTS)]
        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 5 * CLIENTS
    assert max(answers) < 10
    assert host.process
    wait_until(lambda: psutil.Process(host.process.pid).num_fds() < CLIENTS)


def test_clients_that_never_read(host: Host):
    """They ask all they may, and follow everything; what they are not told of is bounded, and others are."""
    before = memory(host)
    asked = [control.client_hello("lazy")]
    asked += [control.request(n, "logs", {"lines": 10_000, "follow": True}) for n in range(1, 20)]
    asked += [control.request(n, "status", {}) for n in range(20, 20_000)]
    with contextlib.ExitStack() as lazy, host.unharmed() as pulse:
        for _ in range(LAZY):
            line = lazy.enter_context(socket.socket(socket.AF_UNIX))
            line.connect(str(host.socket))
            line.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                line.sendall(b"".join(map(encode, asked)))
        for _ in range(100):
            host.logs("all")
        answers = sorted(pulse.answers)
        assert answers[len(answers) * 9 // 10] < 0.1
        assert memory(host) - before < LAZY * MAX_OUTPUT / 2**20
