"""The samples of workflows, as they are (compatibility.md, 1: services, from workflows)."""

from __future__ import annotations

import json
from typing import Any

from tests.waiting import wait_until


def test_producers_consumer_and_transactions(daemon: Any) -> None:
    names = ("SampleProducer", "SampleConsumer", "SampleTxnProducer", "SampleTxn")
    services: dict[str, Any] = {name.lower(): {"class": name} for name in names}
    services["sampletxn"] |= {"max_crashes": 100, "restart": {"backoff": "10ms", "limit": 100}}
    d = daemon(services).start()
    for number in range(5):
        d.ctl("send", "transient.transaction", f'"by hand {number}"')

    def consumed() -> str:
        return d.ctl("logs", "-n", "1000", "sampleconsumer").stdout

    wait_until(lambda: "Message #1" in consumed())

    def all_is_here() -> bool:
        log = consumed()
        if "TXMessage #1" in log and all(f"by hand {number}" in log for number in range(5)):
            return True
        # It aborts one transaction in four and keeps the message: its death brings that back.
        if d.instance("sampletxn/0")["in_flight"]:
            d.kill("sampletxn/0")
            d.wait_ready()
        return False

    wait_until(all_is_here, timeout=60, every=0.2)
    assert "dlq." not in d.ctl("dlq", "list").stdout


def test_pipethrough(daemon: Any) -> None:
    d = daemon({"pipe": {"class": "SamplePipethrough"}}).start()
    recipe = {
        "1": {"queue": "transient.destination", "output": 2},
        "2": {"queue": "after"},
        "start": [[1, []]],
    }
    envelope = {"recipe": recipe, "recipe-pointer": 1, "environment": {"ID": "r"}, "payload": "hello"}
    d.ctl("send", "transient.destination", json.dumps(envelope), "--header", "workflows-recipe=True")
    d.ctl("send", "transient.destination", '"in no recipe"')

    def ready() -> dict[str, int]:
        return {one["name"]: one["ready"] for one in json.loads(d.ctl("--json", "queues").stdout)}

    wait_until(lambda: ready().get("after") == 1)
    wait_until(lambda: ready().get("dlq.transient.destination") == 1)
    assert d.instance("pipe/0")["restarts"] == 0
