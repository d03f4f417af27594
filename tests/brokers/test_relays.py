"""Workers spread over two relays, with a real RabbitMQ, the embedded broker, and a real ActiveMQ."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.stompdriver import StompDriver
from tests.waiting import wait_until
from zocalo_daemon.brokers.base import Confirmed

FIRST, SECOND = "first-geheim", "second-geheim"


@pytest.fixture
def spread(daemon, rabbit):
    """Return what makes a daemon with two relays, a RabbitMQ `far` and an embedded broker `near`."""
    password(rabbit, FIRST)
    rabbit.api("PUT", "permissions/%2F/spread", dict.fromkeys(("configure", "write", "read"), ".*"))

    def make(services: dict[str, Any], relays: int = 2):
        return daemon(services, **settings(relays=relays))

    def settings(word: str = FIRST, relays: int = 2) -> dict[str, Any]:
        far = {"driver": "rabbitmq", "hosts": [rabbit.address], "username": "spread", "password": word}
        return {
            "transports": {"far": far, "near": {}},
            "default_transport": "far",
            "relay_processes": relays,
        }

    make.settings = settings
    yield make
    rabbit.api("DELETE", "users/spread")


def password(rabbit, word: str) -> None:
    rabbit.api("PUT", "users/spread", {"password": word, "tags": ""})


def forwarders(queue: str, count: int = 4) -> dict[str, Any]:
    environment = {"source": queue, "target": f"{queue}.out"}
    return {"class": "trial:Forwarder", "instances": count, "environment": environment}


def publish(rabbit, queue: str, messages) -> None:
    with rabbit.channel() as channel:
        for message in messages:
            channel.basic_publish("", queue, json.dumps(message).encode())


def take(rabbit, queue: str, count: int) -> list[Any]:
    """Return so many messages of a queue, and see that there are no more."""
    with rabbit.channel() as channel:
        found: list[Any] = []

        def more() -> bool:
            _, _, body = channel.basic_get(queue, auto_ack=True)
            if body is not None:
                found.append(json.loads(body))
            return len(found) >= count

        wait_until(more, f"{count} messages in {queue}")
        assert channel.basic_get(queue, auto_ack=True)[0] is None
    return found


def far(d) -> dict[str, Any]:
    return next(one for one in d.status()["transports"] if one["name"] == "far")


def pids(d) -> list[int]:
    return [one["pid"] for one in d.status()["daemon"]["relays"]]


def connections(pid: int, port: int) -> int:
    """Return how many connections to a port of this machine a process has."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(str(descriptor.readlink()))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in sockets for row in rows)


def held(file: Path) -> list[list[Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_workers_are_spread_and_do_all_messages(spread, rabbit, queue, tmp_path):
    d = spread({"work": forwarders(queue)}).start()
    relays = d.status()["daemon"]["relays"]
    assert [(one["name"], one["state"]) for one in relays] == [("relay", "ready"), ("relay 1", "ready")]
    assert d.status()["daemon"]["relay"]["pid"] == relays[0]["pid"]
    publish(rabbit, queue, range(200))
    assert sorted(take(rabbit, f"{queue}.out", 200)) == list(range(200))
    wait_until(lambda: sum(one["processed"] for one in d.instances().values()) == 200, "all in the figures")
    assert all(one["processed"] for one in d.instances().values())
    assert [connections(one["pid"], rabbit.port) for one in relays] == [2, 2]
    wait_until(lambda: not far(d)["unsettled"], "all settled")
    assert {key: far(d)[key] for key in ("state", "connections", "subscriptions")} == {
        "state": "connected",
        "connections": 4,
        "subscriptions": 4,
    }
    assert "zocalod: relay 1" in Path(f"/proc/{relays[1]['pid']}/cmdline").read_text()
    assert d.ctl("logs", "relay 1").stdout == ""


def test_the_death_of_a_relay_concerns_its_workers_alone(spread, rabbit, queue, tmp_path):
    """Services come in the order of the file: a and c on the first relay, b and d on the other."""
    files = {f"{queue}{suffix}": tmp_path / f"held{suffix}" for suffix in ("", ".in", ".1", ".2")}
    until = tmp_path / "until"
    services = {
        name: {
            "class": "holding:Holder",
            "environment": {"queue": one, "file": str(file), "until": str(until)},
        }
        for name, (one, file) in zip("abcd", files.items(), strict=True)
    }
    d = spread(services).start()
    for one in files:
        publish(rabbit, one, ["x"])
    wait_until(lambda: all(map(held, files.values())), "all in hand")
    first, second = pids(d)
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: pids(d)[1] not in (second, None) and far(d)["subscriptions"] == 4, "another relay")
    assert pids(d)[0] == first
    until.touch()
    wait_until(lambda: not far(d)["unsettled"] and sum(map(len, map(held, files.values()))) == 6, "six done")
    assert [held(file) for file in files.values()] == [
        [["x", False]],
        [["x", False], ["x", True]],
        [["x", False]],
        [["x", False], ["x", True]],
    ]
    assert {line["id"] for line in logged(d) if "is gone: connecting anew" in line["text"]} == {"b/0", "d/0"}
    for one in files:
        take(rabbit, one, 0)


def logged(d) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "logs", "-n", "1000").stdout)


def test_reexec_renews_one_relay_after_the_other(spread, rabbit, queue):
    d = spread({"work": forwarders(queue)}).start()
    before, workers = pids(d), {name: one["pid"] for name, one in d.instances().items()}
    publish(rabbit, queue, range(100))
    d.ctl("reexec")
    publish(rabbit, queue, range(100, 200))
    wait_until(lambda: None not in pids(d) and not set(before) & set(pids(d)), "two other relays")
    wait_until(lambda: far(d)["subscriptions"] == 4, "every worker")
    publish(rabbit, queue, range(200, 300))
    found = take_all(rabbit, f"{queue}.out", 300)
    assert found == set(range(300))
    assert {name: one["pid"] for name, one in d.instances().items()} == workers
    renewed = [one["id"] for one in d.events() if one["event"] == "renewed"]
    assert renewed == ["forkserver default", "relay", "relay 1"]


def test_reload_moves_the_transports_of_all_relays(spread, rabbit, queue):
    services = {"work": forwarders(queue)}
    d = spread(services).start()
    before, workers = pids(d), {name: one["pid"] for name, one in d.instances().items()}
    password(rabbit, SECOND)
    d.configure(services, **spread.settings(SECOND, relays=3))
    said = d.ctl("reload").stdout
    assert "transport far: password changed; reconnects" in said
    assert "relay_processes" in said and "restart" in said
    wait_until(lambda: far(d)["state"] == "connected" and far(d)["subscriptions"] == 4, "both connected anew")
    publish(rabbit, queue, range(50))
    assert take_all(rabbit, f"{queue}.out", 50) == set(range(50))
    assert (pids(d), {name: one["pid"] for name, one in d.instances().items()}) == (before, workers)


def test_a_worker_reaches_every_transport(spread, rabbit, queue):
    """Two instances, on either relay; the embedded broker is in the first alone."""
    environment = {"far": "near", "queue": "questions"}
    with rabbit.channel() as channel:
        channel.queue_declare("answers")
    d = spread({"both": {"class": "bridging:BothWays", "instances": 2, "environment": environment}}).start()
    for number in range(6):
        d.ctl("send", "--transport", "near", "questions", str(number))
    assert take_all(rabbit, "answers", 6) == set(range(6))
    wait_until(lambda: sum(one["processed"] for one in d.instances().values()) == 6)
    assert all(one["processed"] for one in d.instances().values())
    os.kill(d.instance("both/1")["pid"], signal.SIGKILL)
    d.ctl("stop", "both")
    d.ctl("send", "--transport", "near", "questions", "6")
    d.ctl("start", "both/1")
    assert take(rabbit, "answers", 1) == [6]


def test_a_poison_message_is_counted_over_both_relays(spread, rabbit, queue):
    environment = {"queue": queue}
    mortal = {"class": "mortal:Mortal", "instances": 2, "environment": environment, "max_crashes": 3}
    d = spread({"mortal": {**mortal, "restart": {"backoff": "0.1s", "max_backoff": "0.1s"}}}).start()
    publish(rabbit, queue, ["kill"])
    assert take(rabbit, f"dlq.{queue}", 1) == ["kill"]
    wait_until(lambda: d.ctl("status", check=False).returncode == 0)
    crashed = [one["id"] for one in d.events() if one["event"] == "crashed"]
    assert len(crashed) == 3
    assert json.loads((d.state_dir / "poison.json").read_text()) == {"messages": []}


def test_each_relay_has_a_spool_and_the_first_takes_over_what_is_left(spread, rabbit, queue):
    """A worker of each relay submits, with nothing in hand, while the broker refuses the daemon."""
    services = {
        name: {"class": "submitting:Submitter", "instances": 2, "environment": {"queue": where}}
        for name, where in (("lost", "no.such.queue"), ("submit", queue))
    }
    password(rabbit, SECOND)
    d = spread(services).start(ready=False)
    wait_until(lambda: far(d)["spooled"] == 4, "all in a spool")
    assert all(list((d.state_dir / place).glob("far/*")) for place in ("spool", "relay-1/spool"))
    d.stop()
    password(rabbit, FIRST)
    d.configure({}, **spread.settings(relays=1))
    d.start()
    assert take_all(rabbit, queue, 2) == {"submit/0", "submit/1"}
    wait_until(lambda: far(d)["spooled"] == 0, "an empty spool")
    assert len(letters(d)) == 2
    d.stop()
    d.configure({}, **spread.settings())
    d.start()
    wait_until(lambda: {one["body"] for one in letters(d)} == {'"lost/0"', '"lost/1"'}, "one of each relay")
    assert "2" in d.ctl("dlq", "purge", "--yes", "no.such.queue").stdout
    assert letters(d) == []


def letters(d) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "dlq", "list", "no.such.queue").stdout)


def take_all(rabbit, queue: str, count: int) -> set[Any]:
    """Return the different messages of a queue, once there are so many; some may come twice."""
    found: set[Any] = set()
    with rabbit.channel() as channel:

        def more() -> bool:
            _, _, body = channel.basic_get(queue, auto_ack=True)
            if body is not None:
                found.add(json.loads(body))
            return len(found) >= count

        wait_until(more, f"{count} messages in {queue}")
    return found


def test_two_relays_share_the_work_of_activemq(daemon, active, tmp_path):
    name = f"relays.{tmp_path.name}"
    broker = {"driver": "activemq", "hosts": [active.address], "username": "guest", "password": "guest"}
    seen = tmp_path / "seen"
    record = {"class": "trial:Recorder", "environment": {"queue": f"{name}.out", "file": str(seen)}}
    services = {"work": forwarders(name), "record": record}
    d = daemon(services, transports={"far": broker}, relay_processes=2).start()
    wait_until(lambda: far(d)["subscriptions"] == 5, "all subscriptions")
    assert (far(d)["state"], far(d)["connections"]) == ("connected", 4)
    assert [connections(pid, active.port) for pid in pids(d)] == [2, 2]
    driver = StompDriver(active.settings())
    sent = itertools.count()

    def send(count: int) -> None:
        for number in itertools.islice(sent, count):
            driver.send(name, b"%d" % number)
        driver.until(lambda: len(driver.of(Confirmed)) > number, "all confirmations")

    def numbers() -> list[int]:
        return sorted(int(line) for line in seen.read_text().split()) if seen.exists() else []

    def all_have_worked() -> bool:
        send(50)  # whom the broker gives how many of a few is its own affair
        return all(one["processed"] for key, one in d.instances().items() if key.startswith("work/"))

    send(50)
    wait_until(all_have_worked, "work for everybody", every=0.5)
    last = next(sent)
    wait_until(lambda: numbers() == list(range(last)), "every message once")
    wait_until(lambda: not far(d)["unsettled"], "all settled")
    driver.broker.close()
    os.kill(pids(d)[1], signal.SIGKILL)
    wait_until(lambda: None not in pids(d) and far(d)["subscriptions"] == 5, "another relay")
    d.ctl("send", name, str(last))
    wait_until(lambda: last in numbers(), "a message after it")
