"""What a daemon on both real brokers survives: wrong settings, misrouted messages, poison."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.brokers.activemq import ActiveServer
from tests.brokers.rabbit import RabbitServer, free_ports
from tests.brokers.stompdriver import StompDriver
from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon.brokers.base import Confirmed

SECRET = "sesame-open-yourself"
BROKERS = ["rabbit", "active"]


def settings(server: RabbitServer | ActiveServer, **more: Any) -> dict[str, Any]:
    """Return a transport as zocalod.yaml has it."""
    made = {**server.settings(), **more}
    left_out = {"name", "vhost"} if made["driver"] == "activemq" else {"name"}
    return {key: value for key, value in made.items() if key not in left_out}


@pytest.fixture
def both(rabbit: RabbitServer, active: ActiveServer) -> dict[str, dict[str, Any]]:
    """The transports of a daemon on both."""
    return {"rabbit": settings(rabbit), "active": settings(active)}


def figures(d: Daemon, transport: str, queue: str) -> dict[str, int]:
    found = json.loads(d.ctl("--json", "queues", "--transport", transport, queue).stdout)
    return {key: found[0][key] if found else 0 for key in ("ready", "unsettled")}


def letters(d: Daemon, transport: str, queue: str) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "dlq", "list", "--transport", transport, queue).stdout)


def publish(server: RabbitServer | ActiveServer, queue: str, messages: list[str]) -> None:
    """Put messages into a queue, beside the daemon."""
    if isinstance(server, RabbitServer):
        with server.channel() as channel:
            for message in messages:
                channel.basic_publish("", queue, json.dumps(message).encode())
        return
    driver = StompDriver(server.settings())
    for message in messages:
        driver.send(queue, json.dumps(message).encode())
    driver.until(lambda: len(driver.of(Confirmed)) == len(messages), "all confirmations", timeout=60.0)
    driver.broker.close()


# -- Wrong settings


def test_what_is_wrong_is_one_line_each_and_harms_nothing_else(daemon, rabbit, active, both, queue):
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    wrong = {
        "r-password": (settings(rabbit, password=SECRET), "the broker refuses user 'guest' or its password"),
        "r-vhost": (settings(rabbit, vhost="none"), "user 'guest' may not use the vhost 'none', or there is"),
        "r-tls": (settings(rabbit, tls={}), "TLS: what answers on this port speaks none"),
        "r-plain": (settings(rabbit, hosts=[rabbit.tls_address]), "or does this port want TLS?"),
        "r-host": (settings(rabbit, hosts=["no.such.host.invalid:1"]), "unknown host no.such.host.invalid"),
        "a-password": (settings(active, password=SECRET), "the broker refuses user 'guest' or its password"),
        "a-host": (settings(active, hosts=["no.such.host.invalid:1"]), "unknown host no.such.host.invalid"),
        "a-dead": (settings(active, hosts=[dead]), "connection refused; does the broker run"),
    }
    forward = {"class": "trial:Forwarder", "environment": {"source": queue, "target": f"{queue}.out"}}
    missing = {"source": "no.such.queue", "target": "x"}
    services = {
        **{name: {**forward, "transport": name} for name in both},
        "waiting": {**forward, "transport": "r-password"},
        "missing": {**forward, "transport": "rabbit", "environment": missing, "restart": {"limit": 2}},
    }
    transports = {**both, **{name: one for name, (one, _) in wrong.items()}}
    d = daemon(services, transports=transports, default_transport="rabbit").start(ready=False)
    wait_until(lambda: d.instance("missing/0")["state"] == "failed", "the end of all attempts")
    assert (
        "there is no queue 'no.such.queue' on the broker; declare it" in d.ctl("status", check=False).stdout
    )
    for name in both:
        d.ctl("send", "--transport", name, queue, "1")
        wait_until(lambda name=name: figures(d, name, f"{queue}.out")["ready"] == 1, name)
    said = {one["name"]: one for one in d.status()["transports"]}
    assert {name for name, one in said.items() if one["state"] == "connected"} == set(both)
    for name, (_, line) in wrong.items():
        assert said[name]["state"] == "connecting" and line in said[name]["detail"]
        (written,) = [one for one in d.stderr().splitlines() if f" relay: {name}: " in one]
        assert written.endswith(f"{said[name]['host']}: {said[name]['detail']}")
    assert {d.instance(f"{name}/0")["state"] for name in both} == {"ready"}
    assert d.instance("waiting/0")["state"] == "starting"
    asked = d.ctl("queues", check=False)
    assert asked.returncode == 1 and "r-password: the broker does not answer" in asked.stderr
    shown = [line.split() for line in asked.stdout.splitlines() if f"{queue}.out" in line]
    assert {(row[0], row[1], row[5]) for row in shown} >= {(f"{queue}.out", "1", name) for name in both}
    assert SECRET not in d.stderr() + d.ctl("logs", "-n", "1000").stdout


# -- Misrouted messages


@pytest.mark.parametrize(
    ("broker", "service", "reason"),
    [
        ("rabbit", "trial:Forwarder", "there is no queue 'no.such.queue'"),
        ("rabbit", "trial:Misrouter", "there is no exchange 'nowhere'"),
        ("active", "trial:Misrouter", "STOMP knows no exchanges, so there is no exchange 'nowhere'"),
    ],
)
def test_a_misrouted_send_takes_its_input_to_the_dead_letters(daemon, both, queue, broker, service, reason):
    environment = {"source": queue, "target": "no.such.queue"}
    d = daemon({"astray": {"class": service, "environment": environment}}, transports={broker: both[broker]})
    d.start()
    d.ctl("send", queue, '{"n": 1}')
    (letter,) = wait_until(lambda: letters(d, broker, queue), "the dead letter")
    assert (letter["origin"], letter["reason"], json.loads(letter["body"])) == (
        queue,
        f"unroutable: {reason}",
        {"n": 1},
    )
    wait_until(lambda: figures(d, broker, queue) == {"ready": 0, "unsettled": 0}, "an empty queue")
    assert d.instance("astray/0")["restarts"] == 0


# -- Poison


@pytest.mark.parametrize("broker", BROKERS)
def test_poison_beside_a_thousand_good_messages(daemon, both, queue, broker, request):
    mortal = {"class": "mortal:Mortal", "instances": 2, "environment": {"queue": queue}, "max_crashes": 3}
    d = daemon(
        {"mortal": {**mortal, "restart": {"backoff": "0.1s", "max_backoff": "0.1s"}}},
        transports={broker: both[broker]},
    )
    publish(request.getfixturevalue(broker), queue, ["live"] * 500 + ["kill"] + ["live"] * 500)
    d.start(ready=False)
    (letter,) = wait_until(lambda: letters(d, broker, queue), "the poison in quarantine", timeout=60.0)
    assert json.loads(letter["body"]) == "kill" and "crash" in letter["reason"]
    wait_until(
        lambda: figures(d, broker, queue) == {"ready": 0, "unsettled": 0}, "the good ones", timeout=60.0
    )
    d.wait_ready()
    assert len(letters(d, broker, queue)) == 1
    assert len([one for one in d.events() if one["event"] == "crashed"]) == 3
