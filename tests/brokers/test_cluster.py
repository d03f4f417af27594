"""Statuses and commands between the daemon and plain workflows on a real RabbitMQ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pika
import pytest

from tests.brokers.plainclient import PlainClient
from tests.brokers.rabbit import RabbitServer
from tests.daemonkit import Daemon
from tests.waiting import wait_until

SERVICES = {
    "one": {"class": "trial:Rejecter", "instances": 2},
    "two": {"class": "Dispatcher"},
}


@pytest.fixture
def vhost(rabbit: RabbitServer) -> Iterator[str]:
    """A virtual host without any exchange of ours."""
    name = "cluster"
    rabbit.api("PUT", f"vhosts/{quote(name)}")
    rabbit.api("PUT", f"permissions/{quote(name)}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
    with pika.BlockingConnection(parameters(rabbit, name)) as connection:
        for queue in ("processing_recipe", "reject"):
            connection.channel().queue_declare(queue)
    yield name
    rabbit.api("DELETE", f"vhosts/{quote(name)}")


def parameters(rabbit: RabbitServer, vhost: str) -> pika.ConnectionParameters:
    return pika.ConnectionParameters("127.0.0.1", rabbit.port, vhost)


def declare(rabbit: RabbitServer, vhost: str) -> None:
    with pika.BlockingConnection(parameters(rabbit, vhost)) as connection:
        for name in ("transient.status", "command"):
            connection.channel().exchange_declare(name, "fanout", durable=True)


def transports(rabbit: RabbitServer, vhost: str) -> dict[str, Any]:
    settings = rabbit.settings(vhost=vhost)
    del settings["name"]
    return {"rabbit": settings}


def cluster(d: Daemon) -> dict[str, Any]:
    return json.loads(d.ctl("--json", "cluster").stdout)


def test_plain_workflows_hears_our_workers_and_we_hear_it(daemon, rabbit, vhost):
    """The rows `status broadcast` and `commands`, with a transport of workflows at the other end."""
    declare(rabbit, vhost)
    d = daemon(SERVICES, transports=transports(rabbit, vhost)).start()
    options = {"--rabbit-host": "127.0.0.1", "--rabbit-port": rabbit.port, "--rabbit-vhost": vhost}
    theirs = PlainClient("PikaTransport", options)
    try:
        # As workflows.contrib.status_monitor subscribes, which needs `host` and `status` of each message.
        theirs.call("subscribe_broadcast", "transient.status", retroactive=True)
        wanted = {"one/0", "one/1", "two/0"}
        wait_until(lambda: {i["message"].get("instance") for i in theirs.arrived} >= wanted, "every worker")
        for item in theirs.arrived:
            assert {"host", "status", "workflows"} <= item["message"].keys()
            assert item["header"]["exchange"] == "transient.status"
        status = {"host": "far.away.17", "status": 2, "statustext": "idle", "service": None, "workflows": "3"}
        theirs.call("broadcast_status", status)
        heard = wait_until(lambda: [s for s in cluster(d)["services"] if s["host"] == "far.away.17"])
        assert heard[0]["transport"] == "rabbit"
        pid = d.instance("one/1")["pid"]
        host = next(i["message"]["host"] for i in theirs.arrived if i["message"].get("instance") == "one/1")
        assert host.endswith(f".{pid}")
        theirs.call("broadcast", "command", {"command": "shutdown", "host": host, "service": "Rejecter"})
        d.wait_state("one/1", "stopped")
        theirs.call("broadcast", "command", {"command": "shutdown", "service": "Dispatcher"})
        d.wait_state("two/0", "stopped")
        assert d.instance("one/0")["state"] == "ready"
        assert cluster(d)["transports"] == [{"name": "rabbit", "trouble": ""}]
    finally:
        theirs.close()


def test_a_broker_without_the_exchanges_gets_one_warning_and_no_flood(daemon, rabbit, vhost):
    d = daemon(SERVICES, transports=transports(rabbit, vhost)).start()
    wait_until(lambda: len(cluster(d)["services"]) == 3, "the own workers, known all the same")
    trouble = wait_until(lambda: _all_trouble(d), "what is not there")
    assert "'transient.status'" in trouble and "'command'" in trouble
    assert "statuses are neither told nor heard: there is no exchange" in d.ctl("cluster").stdout
    # The driver takes what it is told all the same, as a broadcast that nobody hears.
    d.ctl("shutdown", "-s", "Rejecter")
    said = [line for line in d.stderr().splitlines() if "tried again every 5 minutes" in line]
    assert len(said) == 2
    assert d.status()["transports"][0]["state"] == "connected"


def _all_trouble(d: Daemon) -> str:
    trouble: str = cluster(d)["transports"][0]["trouble"]
    return trouble if "statuses" in trouble and "commands" in trouble else ""
