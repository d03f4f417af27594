"""The page of metrics, read by the reference parser's rules. compatibility.md, row "metrics"."""

import re

from zocalo_daemon.control import metrics
from zocalo_daemon.protocol import tally

SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:\w+="(?:[^"\\\n]|\\.)*",?)+)\})? (\S+)')
PEERS = [
    *(
        f"workflows_transport_{call}_total"
        for call in (
            *("subscriptions", "broadcast_subscriptions", "temporary_subscriptions", "ack", "nack", "send"),
            *("broadcast", "transaction_begin", "transaction_abort", "transaction_commit"),
        )
    ),
    "workflows_transport_active_subscriptions",
    "workflows_transport_transactions_in_progress",
    "workflows_callback_processing_time_seconds_bucket",
    "workflows_callback_processing_time_seconds_count",
    "workflows_callback_processing_time_seconds_sum",
]
TRANSPORT = {"name": "rabbit", "driver": "rabbitmq", "state": "connected", "connections": 2, "unsettled": 3}


def parsed(page):
    """Return labels and value of each sample by name; every line must be one, or a comment."""
    found = {}
    for line in page.decode().splitlines():
        if not line.startswith("# "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            found.setdefault(match[1], []).append((labels, float(match[3])))
    return found


def figures(**counts):
    numbers = [0] * tally.LENGTH
    for name, value in counts.items():
        numbers[tally.COUNTS.index(name)] = value
    return tuple(numbers)


def one(total, living=None, **more):
    about = {"states": ("ready",), "ended": 0, "in_hand": 0, "unhealthy": 0, **more}
    return metrics.Figures(source="mine:Class", total=total, living=living or total, **about)


def test_every_name_of_the_peers_is_there_with_their_label():
    found = parsed(metrics.render({"mine": one(figures(send=7))}, [], "1.0", 2.5))
    for name in PEERS:
        assert found[name][0][0]["source"] == "mine:Class", name
        assert found[name][0][0]["service"] == "mine"
    assert found["workflows_transport_send_total"][0][1] == 7
    assert found["zocalod_uptime_seconds"] == [({}, 2.5)]


def test_gauges_are_of_the_living_and_counters_of_all():
    total = figures(subscriptions=9, transaction_begin=9, transaction_commit=5)
    living = figures(
        subscriptions=3, broadcast_subscriptions=1, unsubscribed=1, transaction_begin=4, transaction_abort=3
    )
    found = parsed(metrics.render({"mine": one(total, living)}, [], "1.0", 0.0))
    assert found["workflows_transport_subscriptions_total"][0][1] == 9
    assert found["workflows_transport_active_subscriptions"][0][1] == 3
    assert found["workflows_transport_transactions_in_progress"][0][1] == 1


def test_buckets_are_cumulative_and_their_last_is_the_count():
    numbers = list(figures())
    numbers[tally.BUCKETS] = 2
    numbers[-1] = 1
    numbers[tally.NANOSECONDS] = 12_500_000_000
    found = parsed(metrics.render({"mine": one(tuple(numbers))}, [], "1.0", 0.0))
    buckets = found["workflows_callback_processing_time_seconds_bucket"]
    assert [labels["le"] for labels, _ in buckets][-2:] == ["10.0", "+Inf"]
    assert [value for _, value in buckets] == [2.0] * 14 + [3.0]
    assert found["workflows_callback_processing_time_seconds_count"][0][1] == 3
    assert found["workflows_callback_processing_time_seconds_sum"][0][1] == 12.5


def test_states_transports_and_odd_text():
    service = one(figures(), states=("ready", "ready", "failed"), ended=4, in_hand=2, unhealthy=1)
    found = parsed(metrics.render({"mine": service}, [TRANSPORT], 'a"b\\c\nd', 0.0))
    assert found["zocalod_info"] == [({"version": r"a\"b\\c\nd"}, 1.0)]
    assert {(labels["state"], value) for labels, value in found["zocalod_instances"]} == {
        ("ready", 2.0),
        ("failed", 1.0),
    }
    assert found["zocalod_workers_ended_total"][0][1] == 4
    assert found["zocalod_transport_connected"] == [({"transport": "rabbit", "driver": "rabbitmq"}, 1.0)]
    assert found["zocalod_transport_spooled"][0][1] == 0
