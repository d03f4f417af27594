"""A worker with its real transport, and a real relay behind it."""

from __future__ import annotations

import json

import pytest

from tests.process.standin import Supervisor, write_module
from tests.relaykit import RelayProcess
from tests.waiting import wait_until

SERVICES = """
import time
from pathlib import Path
from workflows.services.common_service import CommonService

class Sum(CommonService):
    def initializing(self):
        self.transport.subscribe("numbers", self.add, acknowledgement=True)

    def add(self, header, message):
        self.transport.send("sums", {"sum": sum(message)})
        self.transport.ack(header)

class Holds(Sum):
    def add(self, header, message):
        print("holding")
        while not Path(self._environment["until"]).exists():
            time.sleep(0.01)
        super().add(header, message)

class Fails(Sum):
    def add(self, header, message):
        raise ValueError("no number")
"""


@pytest.fixture
def relay(tmp_path):
    made = RelayProcess(tmp_path)
    yield made
    made.close()


@pytest.fixture
def supervisor(tmp_path, relay):
    write_module(tmp_path, "sums", SERVICES)
    made = Supervisor(tmp_path, services={name: f"sums:{name}" for name in ("Sum", "Holds", "Fails")})
    yield made
    made.close()


def publish(relay: RelayProcess, *numbers: int) -> None:
    body = json.dumps(list(numbers)).encode()
    answer = relay.request("publish", kind="queue", destination="numbers", headers={}, body=body)
    assert "ok" in answer, answer


def test_messages_go_through(supervisor, relay):
    supervisor.loaded()
    worker = supervisor.fork("Sum")
    worker.until("ready")
    publish(relay, 1, 2, 3)
    wait_until(lambda: relay.queue("sums")["ready"] == 1)
    worker.drain()
    assert worker.wait() == 0
    assert relay.queue("numbers")["unsettled"] == 0


def test_drain_finishes_what_is_in_hand_and_gives_back_the_rest(supervisor, relay, tmp_path):
    supervisor.loaded()
    until = tmp_path / "until"
    worker = supervisor.fork("Holds", environment={"until": str(until)})
    worker.until("ready")
    for number in range(5):
        publish(relay, number)
    wait_until(lambda: "holding" in worker.output())
    worker.drain()
    wait_until(lambda: relay.queue("numbers")["ready"] == 4)
    until.touch()
    assert worker.wait() == 0
    assert relay.queue("numbers")["ready"] == 4
    assert relay.queue("sums")["ready"] == 1


def test_what_a_failing_service_held_is_not_lost(supervisor, relay):
    supervisor.loaded()
    publish(relay, 7)
    worker = supervisor.fork("Fails")
    assert worker.wait() == 1
    assert "ValueError: no number" in next(e for e in worker.rest() if e["event"] == "error")["error"]
    wait_until(lambda: relay.queue("numbers")["ready"] == 1)


def test_worker_without_a_relay_says_so(tmp_path, monkeypatch):
    write_module(tmp_path, "sums", SERVICES)
    write_module(
        tmp_path,
        "impatient",
        "from zocalo_daemon.worker import transport\ntransport.WORKER_TIMEOUT = 0.2\n",
    )
    supervisor = Supervisor(tmp_path, services={"Sum": "sums:Sum"}, preload=["impatient"])
    try:
        supervisor.loaded()
        worker = supervisor.fork("Sum")
        assert worker.wait() == 1
        error = next(e for e in worker.rest() if e["event"] == "error")["error"]
        assert "no relay answers" in error
    finally:
        supervisor.close()


def test_foreign_interpreter_with_the_real_transport(foreign, relay, tmp_path):
    write_module(tmp_path, "sums", SERVICES)
    supervisor = Supervisor(tmp_path, interpreter=foreign, services={"Sum": "sums:Sum"})
    try:
        supervisor.loaded()
        worker = supervisor.fork("Sum")
        worker.until("ready")
        publish(relay, 4, 5)
        wait_until(lambda: relay.queue("sums")["ready"] == 1)
    finally:
        supervisor.close()
