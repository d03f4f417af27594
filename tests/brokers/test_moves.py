"""A reload that changes one transport moves that one alone, without touching a worker."""

from __future__ import annotations

import json
import time

import pytest

from tests.brokers.conftest import Inbox
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

FIRST, SECOND = "first-geheim", "second-geheim"


@pytest.fixture(scope="module")
def account(rabbit):
    rabbit.control("add_user", "moving", FIRST)
    rabbit.control("set_permissions", "moving", ".*", ".*", ".*")
    return "moving"


@pytest.fixture
def relay(tmp_path, rabbit, account):
    rabbit.control("change_password", account, FIRST)
    far = rabbit.settings(name="far", username=account, password=FIRST)
    relay = RelayProcess(tmp_path, transports=[{"name": "default", "driver": "embedded"}, far])
    yield relay
    relay.close()


@pytest.fixture
def both(relay):
    """Two connected transports: for the embedded broker and for RabbitMQ."""
    made = [RelayTransport.for_worker(relay.path, "worker/0", name) for name in ("", "far")]
    for one in made:
        assert one.connect()
    yield made
    for one in made:
        one.disconnect()


def change(relay, *transports, default="default"):
    return relay.request("transports", transports=list(transports), default_transport=default)


def far_of(relay, **different):
    return {**next(one for one in relay.settings["transports"] if one["name"] == "far"), **different}


def wait_for(relay, name, **expected):
    """Wait until the relay reports this of a transport."""

    def reported():
        reports = [one for one in relay.reports if one["report"] == "figures"]
        found = {one["name"]: one for one in reports[-1]["transports"]}.get(name, {}) if reports else {}
        return found.items() >= expected.items()

    relay.read_until(reported)


NEAR = {"name": "default", "driver": "embedded"}


def test_only_the_transport_that_changes_connects_anew(relay, rabbit, both, queue, account, caplog):
    near, far = both
    here, there = Inbox(), Inbox()
    near.subscribe("near", here, acknowledgement=True, prefetch_count=10)
    far.subscribe(queue, there, acknowledgement=True, prefetch_count=10)
    near.send("near", 1)
    far.send(queue, 1)
    here.wait(1)
    there.wait(1)
    rabbit.control("change_password", account, SECOND)
    asked = time.monotonic()
    assert change(relay, NEAR, far_of(relay, password=SECOND)) == {"id": 1, "ok": None}
    far.ack(there.headers[0])  # within the time that is left to settle
    far.send(queue, 2)
    there.wait(2)
    assert time.monotonic() - asked < 2.5  # it does not wait out its time
    assert there.messages == [1, 2]
    near.ack(here.headers[0])  # still in hand: nothing has happened here
    wait_until(lambda: not relay.queue("near")["unsettled"], "the settlement")
    assert [r.message for r in caplog.records if "gone" in r.message] == [
        f"The relay at {relay.path} is gone: connecting anew"
    ]


def test_what_stays_in_hand_comes_again_and_its_settlement_is_dropped(relay, both, queue, caplog):
    _near, far = both
    inbox = Inbox()
    far.subscribe(queue, inbox, acknowledgement=True)
    far.send(queue, 1)
    inbox.wait(1)
    assert "ok" in change(relay, NEAR, far_of(relay, hosts=far_of(relay)["hosts"] * 2))
    inbox.wait(2)
    far.ack(inbox.headers[0])
    assert "its settlement is dropped" in caplog.text
    assert inbox.headers[1]["redelivered"]
    far.ack(inbox.headers[1])
    far.disconnect()
    wait_until(lambda: not relay.queue(queue)["ready"] + relay.queue(queue)["unsettled"], "an empty queue")


def test_a_wrong_password_is_a_state_and_not_the_end(relay, rabbit, both, queue):
    near, far = both
    inbox = Inbox()
    far.subscribe(queue, inbox, acknowledgement=True)
    assert "ok" in change(relay, NEAR, far_of(relay, password="wrong"))
    wait_for(relay, "far", state="connecting")
    near.send("near", "goes on")
    assert "ok" in change(relay, NEAR, far_of(relay))
    far.send(queue, "back")
    inbox.wait(1)


def test_what_can_never_work_changes_nothing(relay, both):
    near, _far = both
    answer = change(relay, NEAR, far_of(relay, tls={"ca": "/nowhere", "verify": True}), default="far")
    assert "/nowhere" in answer["error"]["message"]
    near.send("still.the.default", 1)
    assert relay.queue("still.the.default")["ready"] == 1


def test_transports_come_and_go(relay, both, queue):
    _near, far = both
    assert "ok" in change(relay, NEAR, far_of(relay), far_of(relay, name="third"), default="third")
    third = RelayTransport.for_worker(relay.path, "worker/1")
    third.connect()
    inbox = Inbox()
    far.subscribe(queue, inbox, acknowledgement=True)
    third.send(queue, "by the new default")
    inbox.wait(1)
    assert "ok" in change(relay, NEAR, far_of(relay))
    third.send(queue, "goes on until its worker is replaced")
    far.ack(inbox.headers[0])
    inbox.wait(2)
    third.disconnect()
    read = {one["transport"] for one in relay.request("queues")["ok"]}
    wait_until(lambda: "third" not in read or "error" in relay.request("queues", transport="third"))


def test_a_change_of_driver(relay, both):
    near, _far = both
    inbox = Inbox()
    near.subscribe("near", inbox, acknowledgement=True)
    near.send("near", "kept in the state directory")
    inbox.wait(1)
    assert "ok" in change(relay, {"name": "default", "driver": "memory"}, far_of(relay))
    wait_for(relay, "default", driver="memory")
    near.send("near", "in memory")
    inbox.wait(2)
    assert inbox.messages[1] == "in memory"
    assert "ok" in change(relay, NEAR, far_of(relay))
    wait_for(relay, "default", driver="embedded")
    inbox.wait(3)
    assert inbox.messages[2] == "kept in the state directory"


# -- A whole daemon


def test_reload_with_another_password_leaves_workers_alone(daemon, rabbit, account, queue, tmp_path):
    rabbit.control("change_password", account, FIRST)
    files = {name: tmp_path / name for name in ("near", "far")}
    services = {
        "near": {"class": "trial:Recorder", "environment": {"queue": "near", "file": str(files["near"])}},
        "far": {
            "class": "trial:Recorder",
            "transport": "far",
            "environment": {"queue": queue, "file": str(files["far"])},
        },
    }

    def transports(password, **more):
        far = {"driver": "rabbitmq", "hosts": [rabbit.address], "username": account, "password": password}
        return {"transports": {"near": {}, "far": {**far, **more}}, "default_transport": "near"}

    d = daemon(services, **transports(FIRST)).start()
    before = {name: one["pid"] for name, one in d.instances().items()}
    relay = d.status()["daemon"]["relay"]["pid"]
    rabbit.control("change_password", account, SECOND)
    d.configure(services, **transports(SECOND))
    said = d.ctl("reload").stdout
    assert "transport far: password changed; reconnects" in said and FIRST not in said and SECOND not in said
    d.ctl("send", "--transport", "far", queue, "1")
    d.ctl("send", "near", "1")
    wait_until(lambda: all(file.exists() for file in files.values()), "both messages")
    assert {name: one["pid"] for name, one in d.instances().items()} == before
    assert d.status()["daemon"]["relay"]["pid"] == relay
    gone = [line["id"] for line in logged(d) if "is gone: connecting anew" in line["text"]]
    assert gone == ["far/0"]

    d.configure(services, **transports(SECOND, tls={"ca": str(tmp_path / "none.pem")}))
    (tmp_path / "none.pem").write_text("no certificate")
    refused = d.ctl("reload", check=False)
    assert refused.returncode == 1 and "none.pem" in refused.stderr
    d.ctl("send", "--transport", "far", queue, "2")
    wait_until(lambda: "2" in files["far"].read_text(), "the message by the old transport")


def logged(d):
    return json.loads(d.ctl("--json", "logs", "-n", "1000").stdout)
