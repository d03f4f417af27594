"""What is wrong with a transport, or with one queue of it, is one clear line, and harms nothing else."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

import pytest

from tests.brokers.rabbit import RabbitServer
from tests.brokers.rabbitdriver import Driver
from tests.ports import free_ports
from zocalo_daemon.brokers.base import Confirmed, Refused, SubscriptionFailed

SECRET = "sesame-open-yourself"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def attempts(driver: Driver, count: int) -> None:
    """Turn until both connections have tried so often."""
    peers = (driver.broker._incoming, driver.broker._outgoing)
    driver.until(lambda: all(peer._hosts._tried > count for peer in peers), f"{count} attempts")


WRONG = [
    ({"password": SECRET}, "the broker refuses user 'guest' or its password; check both"),
    ({"vhost": "none"}, "user 'guest' may not use the vhost 'none', or there is none; check the vhost"),
    ({"hosts": ["no.such.host.invalid:5672"]}, "unknown host no.such.host.invalid: "),
    ({"tls": {}}, "TLS: what answers on this port speaks none; give the port for TLS, or leave out tls"),
    ({"hosts": ["localhost:TLS"]}, "it closed the connection before it spoke AMQP 0-9-1: is it ending, or"),
    ({"hosts": ["localhost:TLS"], "tls": {}}, "is not to be trusted: self-signed certificate in certificate "
        "chain; tls.ca must name who has signed it"),
    ({"hosts": ["127.0.0.1:TLS"], "tls": {"ca": "CA"}}, "is not to be trusted: IP address mismatch, "
        "certificate is not valid for '127.0.0.1'; write the host as its certificate does"),
    ({"hosts": ["127.0.0.1:DEAD"]}, "connection refused; does the broker run, and on this port?"),
    ({"password_file": "/nonexistent"}, "cannot read the password file /nonexistent: No such file"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "line"), WRONG, ids=[line[:40] for _, line in WRONG])
def test_a_wrong_setting_is_one_clear_line(rabbit, lines, settings, line):
    words = {"TLS": rabbit.tls_port, "DEAD": free_ports(1)[0], "CA": rabbit.directory / "ca.pem"}
    given = json.dumps({"hosts": [rabbit.address], **settings})
    for word, value in words.items():
        given = given.replace(f":{word}", f":{value}").replace(f'"{word}"', f'"{value}"')
    made = json.loads(given)
    hosts = made["hosts"]
    driver = Driver(rabbit.settings(**made))
    attempts(driver, 2)
    status = driver.broker.status()
    driver.broker.close()
    assert (status.state, status.host) == ("connecting", hosts[0]) and line in status.detail
    (written,) = [record.getMessage() for record in lines.records if record.levelno >= logging.WARNING]
    assert written == f"test: {hosts[0]}: {status.detail}"
    assert SECRET not in lines.text and "Traceback" not in lines.text


def test_hosts_that_fail_for_different_reasons_do_not_fill_the_log(rabbit, lines):
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    driver = Driver(rabbit.settings(hosts=[dead, "no.such.host.invalid:1"]))
    attempts(driver, 5)
    detail = driver.broker.status().detail
    assert f"{dead}: connection refused" in detail and "; no.such.host.invalid:1: unknown host" in detail
    assert len([one for one in lines.records if one.levelno >= logging.WARNING]) == 2
    driver.broker.close()


def test_tls_is_spoken(rabbit, queue):
    ca = str(rabbit.directory / "ca.pem")
    driver = Driver(rabbit.settings(hosts=[rabbit.tls_address], tls={"ca": ca}))
    body = os.urandom(300_000)
    driver.subscribe(1, queue, credit=5)
    assert isinstance(driver.answer(driver.send(queue, body)), Confirmed)
    assert driver.deliveries(1)[0].body == body
    driver.broker.close()
    careless = Driver(rabbit.settings(hosts=[f"127.0.0.1:{rabbit.tls_port}"], tls={"verify": False}))
    careless.connected()
    careless.broker.close()


# -- One queue


@pytest.fixture
def limited(rabbit: RabbitServer, queue: str) -> Iterator[Driver]:
    """A driver whose user may use QUEUE and nothing else."""
    rabbit.api("PUT", "users/limited", {"password": SECRET, "tags": ""})
    own = "^(" + queue.replace(".", r"\.") + "|amq.default)$"
    rabbit.api("PUT", "permissions/%2F/limited", {"configure": own, "write": own, "read": own})
    driver = Driver(rabbit.settings(username="limited", password=SECRET))
    driver.connected()
    yield driver
    driver.broker.close()
    rabbit.api("DELETE", "users/limited")


def test_a_queue_that_is_not_allowed_fails_alone(limited, rabbit, queue, lines):
    limited.subscribe(1, queue, credit=5)
    failed = limited.subscribe(2, f"{queue}.1")
    assert isinstance(failed, SubscriptionFailed)
    assert failed.reason.startswith(f"no access to queue '{queue}.1': ")
    assert "for user 'limited'; check the permissions of that user" in failed.reason
    refused = limited.answer(limited.send("x", exchange=queue.replace("queue", "other")))
    assert isinstance(refused, Refused)
    assert isinstance(limited.answer(limited.send(queue)), Confirmed)
    assert limited.deliveries(1)
    assert limited.broker.status().state == "connected" and SECRET not in lines.text


def test_a_queue_of_another_connection_fails_alone(rabbit, driver, queue):
    with rabbit.channel() as channel:
        channel.queue_declare(f"{queue}.locked", exclusive=True)
        failed = driver.subscribe(1, f"{queue}.locked")
        assert isinstance(failed, SubscriptionFailed)
        assert failed.reason.startswith(f"queue '{queue}.locked': RESOURCE_LOCKED")
    driver.subscribe(2, queue, credit=1)
    driver.answer(driver.send(queue))
    assert driver.deliveries(1)


def test_a_message_that_the_broker_does_not_take_fails_alone(driver, queue):
    # A header frame cannot be split: the broker would end the connection, and so again when it is sent anew.
    driver.subscribe(1, queue, credit=5)
    before = driver.send(queue, b"before")
    large = driver.answer(driver.send(queue, headers={"large": "x" * 200_000}))
    assert isinstance(large, Refused) and large.code == "invalid" and "headers" in large.reason
    assert isinstance(driver.answer(before), Confirmed)
    assert isinstance(driver.answer(driver.send(queue, b"after")), Confirmed)
    assert [one.body for one in driver.deliveries(2)] == [b"before", b"after"]
    assert driver.broker.status().state == "connected"
