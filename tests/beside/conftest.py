"""What runs beside zocalo: needs it installed (`make beside`), and fails without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zocalo

from tests.beside.site import Plain, Site
from tests.brokers.activemq import ActiveServer
from tests.brokers.conftest import active, rabbit
from tests.brokers.rabbit import RabbitServer
from tests.daemonkit import Daemon
from tests.mailkit import MailServer

__all__ = ["active", "rabbit", "zocalo"]
DRIVERS = ["embedded", "rabbitmq", "activemq"]


@pytest.fixture(scope="session")
def mail() -> Iterator[MailServer]:
    """A mail server."""
    server = MailServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def site(
    rabbit: RabbitServer, active: ActiveServer, mail: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """The site."""
    return Site(tmp_path_factory.mktemp("site"), rabbit, active, mail.port)


@pytest.fixture
def plain(site: Site) -> Iterator[Callable[..., Plain]]:
    """Return a function that starts a process of zocalo; all of them end with the test."""
    made: list[Plain] = []

    def start(*command: str, **more: str) -> Plain:
        made.append(Plain(site, command, **more))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def of_site(site: Site, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts a daemon of the site, with the broker of an environment."""
    made: list[Daemon] = []

    def start(services: dict[str, Any], environment: str = "rabbitmq", **more: Any) -> Daemon:
        made.append(Daemon(tmp_path, services, site=str(site.file), site_environment=environment, **more))
        return made[-1].start()

    yield start
    for one in made:
        one.close()
