"""The metrics of daemon and services, in the text format of Prometheus, version 0.0.4 (pure).

Names and buckets of `workflows_...` are those of workflows' PrometheusMiddleware, so that the dashboards of
sites go on: its label `source` is the class, "package.module:Class"; `service` is the name in the
configuration. The same library in the supervisor would cost some MiB, and keep what the board keeps already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zocalo_daemon.protocol import tally
from zocalo_daemon.values import Value

KIND = "text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    "subscriptions": "Subscriptions to queues made",
    "broadcast_subscriptions": "Subscriptions to topics made",
    "temporary_subscriptions": "Subscriptions to temporary queues made",
    "ack": "Messages acknowledged",
    "nack": "Messages rejected or put back",
    "send": "Messages sent to queues",
    "broadcast": "Messages sent to topics",
    "transaction_begin": "Transactions begun",
    "transaction_abort": "Transactions aborted",
    "transaction_commit": "Transactions committed",
}
_CALLBACKS = "workflows_callback_processing_time_seconds"


class Figures(Value):
    """What there is to tell of one service.

    Args:
        source: its class.
        total: the tallies of all its workers together, since the daemon was started.
        living: those of the workers that live.
        states: of each wanted instance.
        ended: workers that have ended.
        in_hand: deliveries that its workers have.
        unhealthy: wanted instances that are not healthy.
    """

    source: str
    total: tuple[int, ...]
    living: tuple[int, ...]
    states: tuple[str, ...]
    ended: int
    in_hand: int
    unhealthy: int


def render(
    services: Mapping[str, Figures], transports: Iterable[Mapping[str, Any]], version: str, uptime: float
) -> bytes:
    """Return the page; `uptime` of the daemon in seconds."""
    labels = {
        name: f'source="{_escaped(one.source)}",service="{_escaped(name)}"' for name, one in services.items()
    }
    lines = [
        *_family("zocalod_info", "gauge", "The daemon", [(f'version="{_escaped(version)}"', 1)]),
        *_family("zocalod_uptime_seconds", "gauge", "Since the daemon was started", [("", round(uptime, 3))]),
        *_calls(services, labels),
        *_callbacks(services, labels),
        *_instances(services),
        *_transports(list(transports)),
        "",
    ]
    return "\n".join(lines).encode()


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}."
    yield f"# TYPE {name} {kind}"
    yield from (f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples)


def _calls(services: Mapping[str, Figures], labels: Mapping[str, str]) -> Iterator[str]:
    for call, text in _HELP.items():
        place = tally.COUNTS.index(call)
        samples = [(labels[name], one.total[place]) for name, one in services.items()]
        yield from _family(f"workflows_transport_{call}_total", "counter", text, samples)
    active = [
        (labels[name], sum(one.living[: tally.UNSUBSCRIBED]) - one.living[tally.UNSUBSCRIBED])
        for name, one in services.items()
    ]
    yield from _family("workflows_transport_active_subscriptions", "gauge", "Subscriptions now", active)
    running = [
        (labels[name], one.living[tally.BEGIN] - one.living[tally.ABORT] - one.living[tally.COMMIT])
        for name, one in services.items()
    ]
    yield from _family("workflows_transport_transactions_in_progress", "gauge", "Transactions now", running)


def _callbacks(services: Mapping[str, Figures], labels: Mapping[str, str]) -> Iterator[str]:
    yield from _family(_CALLBACKS, "histogram", "Time that callbacks of messages take", ())
    bounds = [*map(str, tally.BOUNDS), "+Inf"]
    for name, one in services.items():
        count = 0
        for bound, more in zip(bounds, one.total[tally.BUCKETS :], strict=True):
            count += more
            yield f'{_CALLBACKS}_bucket{{{labels[name]},le="{bound}"}} {count}'
        yield f"{_CALLBACKS}_count{{{labels[name]}}} {count}"
        yield f"{_CALLBACKS}_sum{{{labels[name]}}} {one.total[tally.NANOSECONDS] / 1e9:.9f}"


def _instances(services: Mapping[str, Figures]) -> Iterator[str]:
    states = [
        (f'service="{_escaped(name)}",state="{state}"', count)
        for name, one in services.items()
        for state, count in sorted(Counter(one.states).items())
    ]
    yield from _family("zocalod_instances", "gauge", "Instances that are wanted, by their state", states)
    for metric, kind, text, attribute in (
        ("zocalod_instances_unhealthy", "gauge", "Wanted instances that are not healthy", "unhealthy"),
        ("zocalod_deliveries_in_hand", "gauge", "Deliveries that workers have", "in_hand"),
        ("zocalod_workers_ended_total", "counter", "Workers that have ended, for whatever reason", "ended"),
    ):
        samples = [(f'service="{_escaped(name)}"', getattr(one, attribute)) for name, one in services.items()]
        yield from _family(metric, kind, text, samples)


def _transports(transports: list[Mapping[str, Any]]) -> Iterator[str]:
    def samples(key: str) -> list[tuple[str, float]]:
        return [
            (
                f'transport="{_escaped(one["name"])}",driver="{_escaped(one["driver"])}"',
                int(one["state"] == "connected") if key == "connected" else int(one.get(key) or 0),
            )
            for one in transports
        ]

    for key, text in (
        ("connected", "Whether the broker can be used"),
        ("connections", "Connections to the broker"),
        ("subscriptions", "Consumers of workers"),
        ("unsettled", "Deliveries that are not settled"),
        ("spooled", "Submissions that wait on disk"),
        ("spooled_bytes", "Bytes of submissions that wait on disk"),
    ):
        yield from _family(f"zocalod_transport_{key}", "gauge", text, samples(key))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
