"""Traces of OpenTelemetry in the real daemon, with a collector (compatibility.md, 1: tracing)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.daemonkit import Daemon
from tests.otlpkit import Collector
from tests.waiting import wait_until

Start = Callable[..., Daemon]

RECIPE = {
    "1": {"queue": "stage", "output": 2},
    "2": {"queue": "sink"},
    "start": [[1, {"payload": 1}]],
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


@pytest.fixture
def start(daemon: Any, tmp_path: Path) -> Start:
    """Return a function that starts a daemon with these services, whose spans go to a collector."""

    def start(services: dict[str, str], collector: Collector, **more: Any) -> Daemon:
        site = tmp_path / "site.yaml"
        plugin = {"plugin": "opentelemetry", "endpoint": collector.endpoint, "timeout": 2}
        site.write_text(yaml.safe_dump({"version": 1, "environments": {"default": ["o"]}, "o": plugin}))
        named = {name: {"class": cls} for name, cls in services.items()}
        return daemon(named, site=str(site), **more).start()

    return start


def test_a_recipe_is_one_trace_through_the_relay(start: Start, collector: Collector) -> None:
    d = start(
        {"dispatcher": "Dispatcher", "stage": "tracing:Stage", "sink": "tracing:Sink"}, collector.start()
    )
    request = {"custom_recipe": RECIPE, "parameters": {"guid": "r-1", "ispyb_dcid": 4711}}
    d.ctl("send", "processing_recipe", json.dumps(request))
    wait_until(lambda: collector.named("transport.ack", service_name="Sink"))
    wait_until(lambda: collector.named("transport.subscribe", service_name="Sink", channel="sink"))
    (dispatched,) = collector.named("transport.subscribe", service_name="Dispatcher")
    assert dispatched["attributes"]["dcid"] == 4711 and not dispatched["parent"]
    (sent,) = collector.named("transport.send", service_name="Dispatcher", destination="stage")
    (stage,) = collector.named("transport.subscribe", service_name="Stage", recipe_id="r-1")
    (sent_on,) = collector.named("transport.send", service_name="Stage", destination="sink")
    (sink,) = collector.named("transport.subscribe", service_name="Sink")
    chain = [dispatched, sent, stage, sent_on, sink]
    assert [span["parent"] for span in chain[1:]] == [span["id"] for span in chain[:-1]]
    assert {span["trace"] for span in chain} == {dispatched["trace"]}
    assert stage["resource"]["service.name"] == "Stage"
    assert stage["resource"]["service.instance.id"] == "stage/0"
    assert stage["scope"] == "workflows.services.common_service"
    (commit,) = collector.named("transaction.commit", service_name="Stage")
    assert commit["parent"] == stage["id"]
    lines = json.loads(d.ctl("--json", "logs", "stage").stdout)
    (fields,) = [line["fields"] for line in lines if "stepped" in line["text"]]
    assert (fields["recipe_ID"], int(fields["trace_id"])) == ("r-1", int(stage["trace"], 16))
    assert d.stop() == 0
    assert "threads still running" not in d.stderr()


def test_a_trace_goes_on_that_came_from_elsewhere(start: Start, collector: Collector) -> None:
    d = start({"sink": "tracing:Sink"}, collector.start())
    for value in ("nonsense", f"00-{'1' * 32}-{'2' * 16}-01"):
        d.ctl("send", "sink", "{}", "--header", f"traceparent={value}")
    wait_until(lambda: len(collector.named("transport.subscribe")) == 2)
    assert {span["parent"] for span in collector.named("transport.subscribe")} == {"", "2" * 16}


def test_a_collector_that_is_away_holds_up_nothing_and_is_one_line(
    start: Start, collector: Collector
) -> None:
    d = start({"sink": "tracing:Sink"}, collector.reserve())
    for _ in range(3):
        d.ctl("send", "sink", "{}")
    wait_until(lambda: "does not take traces (" in d.stderr())
    assert d.stderr().count("does not take traces") == 1
    collector.start()

    def again() -> bool:
        d.ctl("send", "sink", "{}")
        return "takes traces again; " in d.stderr()

    wait_until(again, every=0.5)
    collector.stop()
    before = time.monotonic()
    assert d.stop() == 0
    assert time.monotonic() - before < 10
    assert d.stderr().count("Traceback") == 0


def test_a_collector_that_hangs_holds_up_no_end(start: Start) -> None:
    collector = Collector(wait=60.0).start()
    try:
        d = start({"sink": "tracing:Sink"}, collector)
        d.ctl("send", "sink", "{}")
        wait_until(lambda: d.instance("sink/0")["processed"] == 1)
        before = time.monotonic()
        assert d.stop() == 0
        assert time.monotonic() - before < 10
        assert "still running" not in d.stderr()
    finally:
        collector.stop()


def test_the_last_spans_arrive(start: Start, collector: Collector) -> None:
    d = start({"sink": "tracing:Sink"}, collector.start())
    for _ in range(20):
        d.ctl("send", "sink", "{}")
    wait_until(lambda: d.instance("sink/0")["processed"] == 20)
    assert d.stop() == 0
    assert len(collector.named("transport.ack")) == 20
