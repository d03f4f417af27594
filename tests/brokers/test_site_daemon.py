"""A daemon whose RabbitMQ stands in the site configuration, beside an embedded broker of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import yaml

from tests.brokers.rabbit import RabbitServer
from tests.daemonkit import COMMANDS
from tests.waiting import wait_until

PASSWORD = "geheim-17"


@pytest.fixture(scope="module")
def account(rabbit: RabbitServer) -> str:
    """A user of the broker with a password that can be looked for."""
    rabbit.control("add_user", "site", PASSWORD)
    rabbit.control("set_permissions", "site", ".*", ".*", ".*")
    return "site"


@pytest.fixture
def site(tmp_path: Path, rabbit: RabbitServer, account: str) -> Path:
    """A site configuration as zocalo reads it."""
    path = tmp_path / "site.yaml"
    broker = {"host": "127.0.0.1", "port": rabbit.port, "vhost": "/", "username": account}
    document = {
        "version": 1,
        "environments": {"default": {"plugins": ["chosen"], "10-broker": ["amqp"]}},
        "amqp": {"plugin": "pika", **broker, "password": PASSWORD},
        "chosen": {"plugin": "transport", "default": "PikaTransport"},
    }
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o600)
    return path


def lines(path: Path) -> list[int]:
    return sorted({int(line) for line in path.read_text().split()}) if path.exists() else []


def test_services_on_either_broker_and_a_bridge_between_survive_kills(daemon, site, tmp_path, queue):
    answered = tmp_path / "answered"
    far = {"far": "rabbitmq", "queue": queue}
    d = daemon(
        {
            "bridge": {"class": "bridging:Bridge", "environment": far},
            "far": {
                "class": "trial:Forwarder",
                "transport": "rabbitmq",
                "environment": {"source": queue, "target": f"{queue}.out"},
            },
            "back": {"class": "bridging:BothWays", "environment": {**far, "queue": f"{queue}.out"}},
            "last": {"class": "trial:Recorder", "environment": {"queue": "answers", "file": str(answered)}},
        },
        site=str(site),
        transports={"embedded": {}},
    ).start()
    found = {one["name"]: one for one in d.status()["transports"]}
    assert found["rabbitmq"]["driver"] == "rabbitmq" and found["embedded"]["driver"] == "embedded"
    for number in range(40):
        d.ctl("send", "near", str(number))
        if number == 10:
            d.kill("bridge/0")
        if number == 20:
            os.kill(d.status()["daemon"]["relay"]["pid"], signal.SIGKILL)
        if number == 30:
            d.kill("back/0")
    wait_until(lambda: lines(answered) == list(range(40)), "every message, over RabbitMQ and back")
    said = d.ctl("--json", "status").stdout + d.ctl("logs", "-n", "1000").stdout + d.stderr()
    assert PASSWORD not in said
    command = [str(COMMANDS / "zocalod"), "--config", str(d.config_file), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"rabbitmq (rabbitmq at 127.0.0.1:{yaml.safe_load(site.read_text())['amqp']['port']})" in checked
    assert PASSWORD not in checked


def test_the_default_of_the_site_counts_without_transports_of_the_daemon(daemon, site, tmp_path, queue):
    arrived = tmp_path / "arrived"
    environment = {"queue": queue, "file": str(arrived)}
    d = daemon({"far": {"class": "trial:Recorder", "environment": environment}}, site=str(site)).start()
    assert [one["name"] for one in d.status()["transports"]] == ["rabbitmq"]
    d.ctl("send", queue, "7")
    wait_until(lambda: lines(arrived) == [7], "the message")


def test_a_worker_is_one_process_without_a_connection_of_its_own(daemon, site, queue, rabbit):
    """Defect 15 of the peers: two processes and two connections for each service."""
    environment = {"source": queue, "target": f"{queue}.out"}
    d = daemon(
        {"f": {"class": "trial:Forwarder", "instances": 10, "environment": environment}}, site=str(site)
    ).start()
    d.ctl("send", queue, "1")  # so that the connection to send by is there
    wait_until(lambda: len(of_ours(rabbit)) == 2, "two connections of ten services", every=0.1)
    (transport,) = d.status()["transports"]
    assert (transport["connections"], transport["subscriptions"]) == (2, 10)
    below = psutil.Process(d.process.pid).children(recursive=True)
    assert len(below) == 10 + 2, "a relay and a forkserver beside them"
    ports = {link.raddr.port for link in psutil.Process(d.process.pid).net_connections() if link.raddr}
    assert rabbit.port not in ports


def of_ours(rabbit: RabbitServer) -> list[dict]:
    return [one for one in rabbit.api("GET", "connections") if one.get("user") == "site"]


def test_a_service_opens_a_connection_of_its_own_by_the_plugin_of_the_site(daemon, site, queue, rabbit):
    """The row "services in the wild": two transports in one process, the relay's and one of its own."""
    astray = {"class": "wild:Astray", "transport": "embedded", "environment": {"queue": queue}}
    d = daemon({"astray": astray}, site=str(site), transports={"embedded": {}}).start()
    d.ctl("send", "near", "17", "--transport", "embedded")
    with rabbit.channel() as channel:
        wait_until(lambda: channel.basic_get(queue, auto_ack=True)[2] == b"17", "the message", every=0.05)
    d.kill("astray/0")
    d.wait_ready()
