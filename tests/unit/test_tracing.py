import os
import threading
import time
from types import SimpleNamespace

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace.export import SpanExportResult

from tests.waiting import wait_until
from zocalo_daemon.site.tracing import BATCH, KEPT, Careful, Sender

TRACE, SPAN = "1" * 32, "2" * 16


class Exporter:
    """Takes batches; while `away` it refuses them, while `held` it waits."""

    def __init__(self):
        self.batches = []
        self.away = False
        self.held = threading.Event()
        self.held.set()

    def export(self, spans):
        self.held.wait(30)
        if self.away:
            return SpanExportResult.FAILURE
        self.batches.append(list(spans))
        return SpanExportResult.SUCCESS

    def count(self):
        return sum(map(len, self.batches))


def span(sampled=True):
    return SimpleNamespace(context=SimpleNamespace(trace_flags=SimpleNamespace(sampled=sampled)))


@pytest.fixture
def exporter():
    made = Exporter()
    yield made
    made.held.set()


@pytest.mark.parametrize(
    "value", [7, 7.5, True, {"a": 1}, [1], [], b"x", "nonsense", "x" * 10_000, None, f"00-{TRACE}-{SPAN}"]
)
@pytest.mark.parametrize("key", ["traceparent", "tracestate", "baggage"])
def test_no_header_of_a_message_can_disturb(key, value):
    careful = Careful(propagate.get_global_textmap())
    context = careful.extract({"traceparent": f"00-{TRACE}-{SPAN}-01", key: value})
    found = trace.get_current_span(context).get_span_context()
    assert not found.is_valid or f"{found.trace_id:032x}" == TRACE
    assert "traceparent" in careful.fields


def test_what_comes_together_goes_together_and_never_too_much_of_it(exporter):
    sender = Sender(exporter, "there")
    for _ in range(BATCH + 10):
        sender.on_end(span())
    sender.on_end(span(sampled=False))
    assert sender.force_flush(20_000)
    assert exporter.count() == BATCH + 10
    assert max(map(len, exporter.batches)) <= BATCH


def test_a_slow_collector_holds_up_nobody_and_what_is_too_much_is_counted(exporter, capsys):
    sender = Sender(exporter, "there")
    exporter.held.clear()
    before = time.monotonic()
    for _ in range(2 * KEPT):
        sender.on_end(span())
    assert not sender.force_flush(10)
    sender.shutdown()
    assert time.monotonic() - before < 10
    exporter.held.set()
    assert sender.force_flush(20_000)
    assert KEPT <= exporter.count() <= KEPT + BATCH


def test_a_collector_that_is_away_is_told_once_and_holds_up_no_end(exporter, capsys):
    sender = Sender(exporter, "there")
    exporter.away = True
    for number in range(1, 4):
        sender.on_end(span())
        wait_until(lambda number=number: sender._dropped == number)
    sender.on_end(span())
    assert not sender.force_flush(20_000)
    exporter.away = False
    sender.on_end(span())
    wait_until(lambda: not sender._away)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("OpenTelemetry there does not take traces (")
    assert told[1].startswith("OpenTelemetry there takes traces again; ")


def test_there_is_no_thread_before_the_first_span_and_one_of_its_own_after_a_fork(exporter):
    before = threading.active_count()
    sender = Sender(exporter, "there")
    assert threading.active_count() == before
    sender.on_end(span())
    assert sender.force_flush(20_000)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        sender.on_end(span())
        sent = sender.force_flush(20_000)
        os.write(write, b"1" if sent and exporter.count() == 2 else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"1"
    os.close(read)
    os.close(write)
