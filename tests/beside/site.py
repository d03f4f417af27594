"""A site as zocalo knows it: a configuration file, a RabbitMQ and an ActiveMQ, for zocalo and the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.brokers.activemq import ActiveServer
from tests.brokers.rabbit import RabbitServer
from tests.daemonkit import COMMANDS, SERVICES
from tests.waiting import DEADLINE, wait_until

VHOST = "zocalo"  # the one that zocalo.dlq_check looks at
QUEUES = (
    *("processing_recipe", "jsonlines", "mailnotification", "transient.destination", "transient.transaction"),
    *("reject", "out.any"),
)
TOPICS = ("transient.status", "command")


class Site:
    """Its files, what is in them, and its brokers.

    Environments are called as the daemon's drivers; `embedded` has no broker.
    """

    def __init__(self, directory: Path, rabbit: RabbitServer, active: ActiveServer, mail_port: int) -> None:
        self.directory = directory
        self.recipes, self.logbook, self.dropped = (directory / n for n in ("recipes", "logbook", "dropped"))
        for one in (self.recipes, self.dropped):
            one.mkdir()
        self.file = directory / "site.yaml"
        account = {"username": "guest", "password": "guest"}
        here = {"host": "127.0.0.1"}
        document = {
            "version": 1,
            "environments": {
                "embedded": ["storage", "mail"],
                "rabbitmq": ["storage", "mail", "amqp", "api"],
                "activemq": ["storage", "mail", "stomp", "by_stomp"],
                "default": "rabbitmq",
            },
            "storage": {
                "plugin": "storage",
                "zocalo.recipe_directory": str(self.recipes),
                "zocalo.dispatcher.logbook_location": str(self.logbook),
                "zocalo.go.fallback_location": str(self.dropped),
            },
            "mail": {"plugin": "smtp", **here, "port": mail_port, "from": "zocalo@example.com"},
            "amqp": {"plugin": "pika", **here, "port": rabbit.port, "vhost": VHOST, **account},
            "api": {
                "plugin": "rabbitmqapi",
                "base_url": f"http://127.0.0.1:{rabbit.management_port}/api",
                **account,
            },
            "stomp": {"plugin": "stomp", **here, "port": active.port, "prefix": "zocalo", **account},
            "by_stomp": {"plugin": "transport", "default": "StompTransport"},
        }
        self.file.write_text(yaml.safe_dump(document))
        self.file.chmod(0o600)
        self._declare()

    def _declare(self) -> None:
        """Have zocalo declare what is on RabbitMQ."""
        layout = {
            "vhosts": [{"name": VHOST}],
            "permissions": [
                {"vhost": vhost, "user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
                for vhost in ("/", VHOST)
            ],
            "policies": [],
            "exchanges": [],
            "groups": [
                {
                    "names": list(QUEUES),
                    "vhost": VHOST,
                    "settings": {"queues": {"dead-letter-routing-key-pattern": "dlq.{name}"}},
                },
                {"names": list(TOPICS), "vhost": VHOST, "settings": {"broadcast": True}},
            ],
        }
        file = self.directory / "rabbitmq.yaml"
        file.write_text(yaml.safe_dump(layout))
        self.run("zocalo.configure_rabbitmq", str(file), check=True)

    def environment(self, environment: str = "rabbitmq") -> dict[str, str]:
        """Return the variables of a process that belongs to this site."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("ZOCALO")}
        path = os.pathsep.join([str(SERVICES), str(self.directory), known.pop("PYTHONPATH", "")])
        return {
            **known, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1",
            "ZOCALO_CONFIG": str(self.file), "ZOCALO_DEFAULT_ENV": environment,
        }  # fmt: skip

    def run(self, program: str, *args: str, check: bool = False, stdin: str = "", **more: str) -> Any:
        """Run one of zocalo's commands, in the site's directory; `more` are variables."""
        done = subprocess.run(
            [str(COMMANDS / program), *args],
            env={**self.environment(), **more},
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{program} {args}:\n{done.stdout}{done.stderr}"
        return done


class Plain:
    """A process of zocalo, `zocalo.service` for example, with all that it starts.

    SIGTERM would leave its child behind (compatibility.md, 2: defect 11), so its group is ended.
    """

    def __init__(self, site: Site, command: Sequence[str], **more: str) -> None:
        self._log = site.directory / f"plain-{len(list(site.directory.glob('plain-*')))}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(COMMANDS / command[0]), *command[1:]],
                env={**site.environment(), **more},
                cwd=site.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Wait until it has said something."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, text)
        assert text in self.output, self.output

    def wait(self) -> int:
        """Wait for its end."""
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        """End it, and its child."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
