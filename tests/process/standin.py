"""A supervisor of few lines, and services, for the tests of forkserver and worker."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import msgpack

import zocalo_daemon
from tests.waiting import DEADLINE
from zocalo_daemon import linux
from zocalo_daemon.protocol import channel as protocol
from zocalo_daemon.worker.launch import command

PACKAGE = Path(zocalo_daemon.__file__).parent


def receive(sock: socket.socket, timeout: float = DEADLINE) -> dict[str, Any]:
    """Return the next message; EOFError when the other side has closed."""
    sock.settimeout(timeout)
    data = sock.recv(protocol.MAX_MESSAGE)
    if not data:
        raise EOFError
    return protocol.decode(data)


class Worker:
    def __init__(self, pid: int, channel: socket.socket, log: int) -> None:
        self.pid, self.channel, self.log = pid, channel, log
        self.pidfd = os.pidfd_open(pid)
        self.status: int | None = None
        self.events: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """Return the next message with that event; the others are kept in `events`."""
        while True:
            message = receive(self.channel)
            self.events.append(message)
            if message["event"] == event:
                return message

    def rest(self) -> list[dict[str, Any]]:
        """Return every event until the worker has gone."""
        try:
            while True:
                self.events.append(receive(self.channel))
        except (EOFError, ConnectionResetError):
            return self.events

    def drain(self) -> None:
        self.channel.send(protocol.encode({"do": "drain"}))

    def wait(self, timeout: float = DEADLINE) -> int:
        """Return the exit status, negative for a signal."""
        if self.status is None:
            if not select.select([self.pidfd], [], [], timeout)[0]:
                raise TimeoutError(f"worker {self.pid} does not end")
            info = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            assert info is not None
            self.status = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        return self.status

    def output(self) -> str:
        """Return what it has printed, all of it once it has ended."""
        parts = []
        while select.select([self.log], [], [], 0.05)[0] and (part := os.read(self.log, 65536)):
            parts.append(part)
        return b"".join(parts).decode()

    def close(self) -> None:
        if self.status is None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self.wait()
        self.channel.close()
        os.close(self.pidfd)
        os.close(self.log)


class Supervisor:
    """Starts one forkserver and forks workers through it."""

    def __init__(
        self,
        directory: Path,
        *,
        interpreter: Path | None = None,
        env: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        linux.become_subreaper()
        self.directory = directory
        self.workers: list[Worker] = []
        self.serial = 0
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("settings")
        stub = (
            {"transport": "stubtransport:StubTransport"} if (directory / "stubtransport.py").exists() else {}
        )
        settings = {
            "parent": os.getpid(),
            "runtime": "default",
            "title": "zocalod",
            "python_path": [str(directory)],
            "preload": [],
            "services": {},
            "site": None,
            **stub,
            **settings,
        }
        os.write(memory, msgpack.packb(settings))
        # Descriptors 3 and 4 in the child are dup2'ed from above the range that pass_fds may collide with.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in (theirs.fileno(), memory)]
        shell = f'exec "$@" 3<&{high[0]} 4<&{high[1]} {high[0]}<&- {high[1]}<&-'
        with (directory / "forkserver.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", shell, "bash", *command(interpreter, PACKAGE)],
                pass_fds=high,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd=directory,
            )
        for fd in (*high, memory):
            os.close(fd)
        theirs.close()

    def loaded(self) -> dict[str, Any]:
        return receive(self.channel)

    def request(self, service: str, number: int = 0, **worker: Any) -> tuple[int, socket.socket, int]:
        """Ask for a worker; return serial, channel and the read end of the log pipe."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read, write = os.pipe()
        self.serial += 1
        worker = {
            "service": service,
            "relay": str(self.directory / "relay.sock"),
            "transport": "",
            "environment": {},
            "verbose": False,
            "nice": 0,
            "title": f"zocalod: {service}/{number}",
            **worker,
        }
        message = {"do": "fork", "id": f"{service}/{number}", "serial": self.serial, "worker": worker}
        socket.send_fds(self.channel, [protocol.encode(message)], [theirs.fileno(), write])
        theirs.close()
        os.close(write)
        return self.serial, ours, read

    def fork(self, service: str, number: int = 0, **worker: Any) -> Worker:
        serial, channel, log = self.request(service, number, **worker)
        answer = receive(self.channel)
        assert answer.get("event") == "forked", answer
        assert answer["serial"] == serial
        self.workers.append(Worker(answer["pid"], channel, log))
        return self.workers[-1]

    def close(self) -> None:
        self.channel.close()
        try:
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            for worker in self.workers:
                worker.close()


def write_module(directory: Path, name: str, text: str) -> None:
    path = directory / (name.replace(".", "/") + ".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


STUB = '''
from workflows.transport.common_transport import CommonTransport

class StubTransport(CommonTransport):
    """Connects to nothing; hands one message to each subscriber."""
    @classmethod
    def for_worker(cls, socket, worker, transport, secret, notes):
        return cls()
    def __init__(self):
        super().__init__()
        self.connected = False
    def connect(self):
        self.connected = True
        return True
    def is_connected(self):
        return self.connected
    def disconnect(self):
        print("transport: disconnect")
        self.connected = False
    def drain(self):
        print("transport: drain")
    def _subscribe(self, sub_id, channel, callback, **kwargs):
        self.subscription_callback(sub_id)({"message-id": 1}, channel)
'''
