"""A private ActiveMQ: its own ports and directories, ended with the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from tests.ports import free_ports
from tests.waiting import wait_until

HOME = Path("/usr/share/activemq")
STATISTICS = "<statisticsBrokerPlugin/>"
# Ours, and the one that StompTransport takes if it is told no other.
USERS = """
<simpleAuthenticationPlugin><users>
  <authenticationUser username="guest" password="guest" groups="all"/>
  <authenticationUser username="admin" password="password" groups="all"/>
</users></simpleAuthenticationPlugin>
"""
# What ActiveMQ needs to tell them by STOMP, and what Debian's leaves out of its directory.
JSON = [Path("/usr/share/java") / name for name in ("xstream.jar", "jettison.jar")]
WITHOUT = "ZOCALO_TEST_WITHOUT_ACTIVEMQ"  # set it to skip these tests where there is no server

CONFIGURATION = """\
<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
  http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
  http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="localhost" useJmx="false"
      useShutdownHook="false" schedulerSupport="true" dataDirectory={data}>
    <destinationPolicy><policyMap><policyEntries>
      <policyEntry queue="&gt;" prioritizedMessages="true"/>
      <policyEntry topic="&gt;">
        <subscriptionRecoveryPolicy>
          <fixedCountSubscriptionRecoveryPolicy maximumSize="100"/>
        </subscriptionRecoveryPolicy>
      </policyEntry>
    </policyEntries></policyMap></destinationPolicy>
    <persistenceAdapter><kahaDB directory={kahadb} lockKeepAlivePeriod="0"/></persistenceAdapter>
    {plugins}
    {tls}
    <transportConnectors>
      <transportConnector name="stomp" uri="{scheme}://127.0.0.1:{port}?{options}"/>
    </transportConnectors>
  </broker>
</beans>
"""
LOGGING = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %-5p %m%n
"""


def require_server() -> None:
    """Fail without a server, or skip if that was asked for."""
    if not all(one.exists() for one in (HOME / "bin" / "activemq.jar", *JSON)):
        message = "these tests need activemq: apt-get install activemq libxstream-java libjettison-java"
        if os.environ.get(WITHOUT):
            pytest.skip(message)
        pytest.fail(message)


class ActiveServer:
    """The server. `kill` and `start` play the death and return of a broker.

    Args:
        plugins: elements of <plugins>.
        tls: <sslContext> of a broker that speaks TLS.
        libraries: what it has besides; without those for JSON it ends a connection that asks for statistics.
    """

    # A small heap, one collector thread, no late compiler: tests share the machine.
    machine: tuple[str, ...] = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")

    def __init__(
        self,
        directory: Path,
        plugins: str = "",
        tls: str = "",
        options: str = "",
        libraries: Sequence[Path] = JSON,
    ) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        data = directory / "data"
        text = CONFIGURATION.format(
            data=quoteattr(str(data)),
            kahadb=quoteattr(str(data / "kahadb")),
            plugins=f"<plugins>{plugins}</plugins>" if plugins else "",
            tls=f"<sslContext>{tls}</sslContext>" if tls else "",
            scheme="stomp+ssl" if tls else "stomp",
            port=self.port,
            options=options,
        )
        (directory / "activemq.xml").write_text(text)
        (directory / "log4j.properties").write_text(LOGGING)
        (directory / "lib").mkdir()
        for one in libraries:
            (directory / "lib" / one.name).symlink_to(one)
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it is meant to run."""
        return self._server is not None

    @property
    def output(self) -> str:
        """What it has said."""
        return (self.directory / "output").read_text()

    def start(self, wait: bool = True) -> None:
        """Start the server and wait until it takes connections."""
        properties = {
            "activemq.base": self.directory,
            "activemq.home": HOME,
            "activemq.conf": self.directory,
            "java.io.tmpdir": self.directory,
            "log4j.configuration": (self.directory / "log4j.properties").as_uri(),
        }
        with (self.directory / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [
                    shutil.which("java") or "java",
                    *self.machine,
                    *(f"-D{key}={value}" for key, value in properties.items()),
                    *("-jar", str(HOME / "bin" / "activemq.jar"), "start"),
                    f"xbean:file:{self.directory}/activemq.xml",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if wait:
            wait_until(self.answers, "an ActiveMQ that answers", timeout=60.0, every=0.05)

    def answers(self) -> bool:
        """Say whether it takes a connection."""
        assert self._server is not None
        assert self._server.poll() is None, self.output[-2000:]
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._server is not None
        os.kill(self._server.pid, number)

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

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return a transport of the relay that uses it."""
        made = {"name": "default", "driver": "activemq", "hosts": [self.address], "vhost": "/"}
        return {**made, "username": "guest", "password": "guest", **more}
