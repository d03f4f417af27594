"""A private RabbitMQ: its own node, ports, directories and epmd, ended with the tests."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.ports import free_ports
from tests.waiting import wait_until

SERVER = Path("/usr/lib/rabbitmq/bin")
WITHOUT = "ZOCALO_TEST_WITHOUT_RABBITMQ"  # set it to skip these tests where there is no server


def require_server() -> None:
    """Fail without a server, or skip if that was asked for."""
    if not (SERVER / "rabbitmq-server").exists():
        message = "these tests need rabbitmq-server: apt-get install rabbitmq-server"
        if os.environ.get(WITHOUT):
            pytest.skip(message)
        pytest.fail(message)


def make_certificates(directory: Path) -> None:
    """Make a private authority (ca.pem), and a certificate of it for localhost (server.pem, server.key)."""
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    commands = [
        [*new, "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"],
        [*new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
        ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
         "-CAcreateserial", "-extfile", "names", "-out", "server.pem"],
    ]  # fmt: skip
    (directory / "names").write_text("subjectAltName=DNS:localhost")
    for command in commands:
        subprocess.run(command, cwd=directory, check=True, capture_output=True)


class RabbitServer:
    """The server. `kill` and `start` play the death and return of a broker."""

    # Two instead of one for each core, and no busy waiting: tests share the machine.
    schedulers = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"

    def __init__(self, directory: Path, *, everything: bool = False) -> None:
        """Start it; `everything` is TLS for the name localhost, management and STOMP besides."""
        self.directory = directory
        self.port, distribution, epmd, self.tls_port, self.management_port, self.stomp_port = free_ports(6)
        self._pid_file = directory / "pid"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"zocalo{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_PID_FILE": str(self._pid_file),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"
            f" {self.schedulers}",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        (directory / "plugins").write_text("[rabbitmq_management, rabbitmq_stomp]." if everything else "[].")
        config = [f"listeners.tcp.default = 127.0.0.1:{self.port}", "log.file.level = warning"]
        if everything:
            make_certificates(directory)
            files = {"cacertfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
            config += [f"ssl_options.{key} = {directory / name}" for key, name in files.items()]
            config += [f"listeners.ssl.default = 127.0.0.1:{self.tls_port}"]
            config += [f"stomp.listeners.tcp.1 = 127.0.0.1:{self.stomp_port}"]
            config += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self.management_port}"]
        (directory / "rabbitmq.conf").write_text("\n".join(config) + "\n")
        program = shutil.which("epmd") or "epmd"
        # Started here and in the foreground, so that it is a child of ours that we can end.
        self._epmd = subprocess.Popen([program], env=self.environment, start_new_session=True)
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def tls_address(self) -> str:
        """HOST:PORT, by the name in its certificate."""
        return f"localhost:{self.tls_port}"

    @property
    def running(self) -> bool:
        """Whether it is meant to run."""
        return self._server is not None

    def start(self, wait: bool = True) -> None:
        """Start the server and wait until it takes connections."""
        self._pid_file.unlink(missing_ok=True)
        with (self.directory / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [str(SERVER / "rabbitmq-server")],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if wait:
            wait_until(self.answers, "a RabbitMQ that answers", timeout=60.0, every=0.1)

    def answers(self) -> bool:
        """Say whether it takes a connection."""
        assert self._server is not None
        assert self._server.poll() is None, (self.directory / "output").read_text()[-2000:]
        try:
            self.connect().close()
        except (pika.exceptions.AMQPError, OSError):
            return False
        return True

    def connect(self) -> Any:
        """Return a connection of its own, for what a test does beside the relay."""
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        """Yield a channel."""
        connection = self.connect()
        try:
            yield connection.channel()
        finally:
            if connection.is_open:
                connection.close()

    def control(self, *words: str) -> str:
        """Run rabbitmqctl."""
        done = subprocess.run(
            [str(SERVER / "rabbitmqctl"), *words],
            env=self.environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout.decode()

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the management API, which is much quicker than rabbitmqctl."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {base64.b64encode(b'guest:guest').decode()}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def signal(self, number: int) -> None:
        """Send a signal to everything that belongs to the server."""
        assert self._server is not None
        os.killpg(self._server.pid, number)

    def kill(self) -> None:
        """End it without warning."""
        assert self._server is not None
        self.signal(signal.SIGKILL)
        self._server.wait()
        self._server = None

    def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self.kill()
        self._epmd.kill()
        self._epmd.wait()

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return a transport of the relay that uses it."""
        made = {"name": "default", "driver": "rabbitmq", "hosts": [self.address], "vhost": "/"}
        return {**made, "username": "guest", "password": "guest", **more}
