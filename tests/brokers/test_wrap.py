"""`zocaloctl wrap` where no daemon runs, as on a cluster node: straight to RabbitMQ and ActiveMQ."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.brokers.proxy import Proxy
from tests.brokers.rabbit import RabbitServer
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from tests.wrapkit import OUTPUTS, Outputs, command, environment, wrap, write_step

SAID = {
    "starting": ["Starting processing"],
    "updates": [{"done": 0.5}],
    "result-individual-file": [{"file_name": "a.h5"}],
    "result-all-files": [[{"file_name": "a.h5"}]],
    "custom": [7],
    "success": ["Finished processing"],
    "completed": ["Finished processing"],
}


@pytest.fixture
def queues(rabbit: RabbitServer) -> Iterator[str]:
    """The prefix of queues for all outputs of a step."""
    with rabbit.channel() as channel:
        for name in OUTPUTS:
            channel.queue_declare(f"wrapped.{name}")
    yield "wrapped"
    with rabbit.channel() as channel:
        for name in OUTPUTS:
            channel.queue_delete(f"wrapped.{name}")


def taken(rabbit: RabbitServer, prefix: str) -> dict[str, list[tuple[Any, Any]]]:
    """Take all messages of the outputs: properties and body of each."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    with rabbit.channel() as channel:
        for name in OUTPUTS:
            while (got := channel.basic_get(f"{prefix}.{name}", auto_ack=True))[0]:
                found.setdefault(name, []).append((got[1], json.loads(got[2])))
    return found


def emptied(channel: Any, queue: str) -> Iterator[Any]:
    """Yield the bodies of what is in a queue."""
    while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
        yield json.loads(body)


def payloads(found: dict[str, list[tuple[Any, Any]]]) -> dict[str, list[Any]]:
    return {name: [body["payload"] for _, body in messages] for name, messages in found.items()}


def write_site(file: Path, address: str) -> str:
    """Write a site configuration with a RabbitMQ in the environment `live`."""
    host, _, port = address.rpartition(":")
    account = {"username": "guest", "password": "guest", "vhost": "/"}
    broker = {"plugin": "pika", "host": host, "port": int(port), **account}
    file.write_text(yaml.safe_dump({"version": 1, "environments": {"live": ["amqp"]}, "amqp": broker}))
    return str(file)


def test_a_job_on_a_cluster_node_sends_what_it_sends_through_a_daemon(rabbit, queues, tmp_path):
    step = str(write_step(tmp_path / "step.json", queues, value=7))
    site = write_site(tmp_path / "site.yaml", rabbit.address)
    with rabbit.channel() as channel:
        monitor = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(monitor, "transient.status")
        done = wrap("--wrap", "wrapping:Works", "--recipewrapper", step, "-e", "live", ZOCALO_CONFIG=site)
        assert done.returncode == 0, done.stderr
        told = list(emptied(channel, monitor))
    found = taken(rabbit, queues)
    assert payloads(found) == SAID
    for properties, _ in (message for messages in found.values() for message in messages):
        assert properties.headers["workflows-recipe"] is True
        assert properties.delivery_mode == 2
    assert [s["status"] for s in told] == sorted(s["status"] for s in told)
    assert told[-1]["status"] == 6
    assert "guest" not in done.stderr
    relay = RelayProcess(tmp_path, "memory")
    try:
        transport = relay.transport()
        outputs = Outputs(transport, queues)
        wrap("--wrap", "wrapping:Works", "--recipewrapper", step, ZOCALO_RELAY_SOCKET=str(relay.path))
        wait_until(lambda: "completed" in outputs.arrived)
        transport.disconnect()
    finally:
        relay.close()
    envelopes = [body for messages in found.values() for _, body in messages]
    assert sorted(map(str, envelopes)) == sorted(str(body) for _, body in outputs.envelopes)


def test_a_message_that_has_no_queue_is_not_taken_for_sent(rabbit, queues, tmp_path):
    """Defect 1: without publisher confirms a send to a missing queue reports success."""
    with rabbit.channel() as channel:
        channel.queue_delete(f"{queues}.success")
    step = str(write_step(tmp_path / "step.json", queues))
    host, _, port = rabbit.address.rpartition(":")
    flags = [f"--rabbit-host={host}", f"--rabbit-port={port}"]
    done = wrap("--wrap", "wrapping:Works", "--recipewrapper", step, *flags)
    assert done.returncode == 8, done.stderr
    assert "The message to success was not sent" in done.stderr
    assert f"{queues}.success" in done.stderr
    with rabbit.channel() as channel:
        channel.queue_declare(f"{queues}.success")
    expected = {**SAID, "custom": [None]}
    del expected["success"]
    assert payloads(taken(rabbit, queues)) == expected


@contextlib.contextmanager
def waiting(tmp_path: Path, *args: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run a job that waits for the file `for`; it has begun."""
    env = environment(WAITS_AT=str(tmp_path / "at"), WAITS_FOR=str(tmp_path / "for"), **more)
    run = command("--wrap", "wrapping:Waits", *args)
    with subprocess.Popen(run, env=env, stderr=subprocess.PIPE, text=True) as job:
        wait_until(lambda: (tmp_path / "at").exists() or job.poll() is not None, "a job that waits")
        yield job
        if job.poll() is None:
            job.kill()


def test_an_outage_of_the_broker_is_waited_for(rabbit, queues, tmp_path):
    step = str(write_step(tmp_path / "step.json", queues))
    proxy = Proxy(("127.0.0.1", rabbit.port))
    site = write_site(tmp_path / "site.yaml", proxy.address)
    with waiting(tmp_path, "--recipewrapper", step, ZOCALO_CONFIG=site, ZOCALO_DEFAULT_ENV="live") as job:
        port = int(proxy.address.rpartition(":")[2])
        proxy.close()
        (tmp_path / "for").touch()
        said = ""
        while "lost" not in said and "connect" not in said.partition("starting processing")[2]:
            said += job.stderr.readline()
        proxy = Proxy(("127.0.0.1", rabbit.port), port)
        said += job.communicate(timeout=30)[1]
        assert job.returncode == 0, said
    proxy.close()
    assert payloads(taken(rabbit, queues))["success"] == ["Finished processing"]


def test_a_scheduler_that_signals_all_processes_of_a_job_hears_of_the_failure(rabbit, queues, tmp_path):
    step = str(write_step(tmp_path / "step.json", queues))
    site = write_site(tmp_path / "site.yaml", rabbit.address)
    with waiting(tmp_path, "--recipewrapper", step, "-e", "live", ZOCALO_CONFIG=site) as job:
        relays = psutil.Process(job.pid).children(recursive=True)
        assert len(relays) == 1
        for one in (*relays, job):
            os.kill(one.pid, signal.SIGTERM)
        said = job.communicate(timeout=30)[1]
        assert job.returncode == 128 + signal.SIGTERM, said
    # At least once: what its relay had sent as it was told to end, the next one may send again.
    assert set(payloads(taken(rabbit, queues))["failure"]) == {"interrupted by SIGTERM"}
    wait_until(lambda: not psutil.pid_exists(relays[0].pid), "the end of its relay")


def test_a_job_sends_to_activemq(active, tmp_path):
    relay = RelayProcess(tmp_path, "activemq", transports=[active.settings(prefix="site")])
    try:
        outputs = Outputs(relay.transport(), "wrapped")
        step = str(write_step(tmp_path / "step.json", "wrapped", value=7))
        host, _, port = active.address.rpartition(":")
        flags = {"host": host, "port": port, "user": "guest", "pass": "guest", "prfx": "site"}
        words = [f"--stomp-{name}={value}" for name, value in flags.items()]
        done = wrap("--wrap", "wrapping:Works", "--recipewrapper", step, "-t", "StompTransport", *words)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: outputs.arrived == SAID, "all messages")
        wait_until(lambda: outputs.statuses and outputs.statuses[-1]["status"] == 6, "its last status")
    finally:
        relay.close()
