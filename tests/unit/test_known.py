"""What is kept of the statuses that are heard, and what is not."""

from __future__ import annotations

import json

import pytest

from zocalo_daemon.protocol import control, framing
from zocalo_daemon.relay.known import FORGET, Known

STATUS = {
    "host": "uk.ac.site.ws1.4711",
    "status": 4,
    "statustext": "processing",
    "service": "Spotfinder",
    "serviceclass": "SpotFinder",
    "utilization": {"4": 0.75, "2": 0.25},
    "workflows": "3.3",
    "zocalo": "1.6.0",
    "tag": "mine",
    "cluster_JOB_ID": "17",
    "cluster_SGE_CELL": "one",
    "container_image": "image",
    "container_node": "node",
    "task": "a wrapper's",
}


def hear(*bodies: object, room: int = 100_000) -> list[dict]:
    known = Known(room)
    for body in bodies:
        known.hear("rabbit", body if isinstance(body, bytes) else json.dumps(body).encode(), 1000.0)
    return known.listing(1001.0)


def test_all_fields_of_workflows_and_zocalo_are_kept():
    """The row `status broadcast` of what sites rely on, field by field."""
    assert hear(STATUS) == [{**STATUS, "transport": "rabbit", "seen_s": 1.0}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"no JSON",
        b"[" * 5000,
        b"{" + b" " * 20_000 + b"}",
        [],
        "text",
        None,
        {},
        {**STATUS, "host": None},
        {**STATUS, "host": ""},
        {**STATUS, "host": "x" * 1000},
        {**STATUS, "status": "4"},
        {**STATUS, "status": True},
        {**STATUS, "status": 8},
        {**STATUS, "status": -3},
        {**STATUS, "status": 1.5},
    ],
)
def test_what_is_no_status_is_ignored(body):
    assert hear(body) == []


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("service", None, None),
        ("service", ["a"], None),
        ("service", "x" * 2000, "x" * 100),
        ("service", "ü" * 2000, "ü" * 50),
        ("service", "\ud800", "?"),
        ("workflows", 3.7, "3.7"),
        ("utilization", [1], None),
        ("utilization", {"2": "much", "3": 7, "4": 1}, {"4": 1.0}),
        ("unknown", "of somebody", None),
    ],
)
def test_a_field_is_kept_as_far_as_it_makes_sense(field, value, kept):
    (status,) = hear({**STATUS, field: value})
    assert status.get(field) == kept


def test_the_latest_counts_and_who_shuts_down_is_gone():
    other = {**STATUS, "host": "b.1"}
    assert [one["status"] for one in hear(STATUS, other, {**STATUS, "status": 2})] == [4, 2]
    assert [one["host"] for one in hear(STATUS, other, {**STATUS, "status": -2})] == ["b.1"]


def test_who_is_silent_is_forgotten_after_a_while():
    known = Known()
    known.note("a", STATUS, 0.0)
    known.note("a", {**STATUS, "host": "b.1"}, 10.0)
    assert [one["seen_s"] for one in known.listing(FORGET - 1)] == [79.0, 89.0]
    assert [one["host"] for one in known.listing(FORGET + 1)] == ["b.1"]


def test_invented_hosts_do_not_push_out_real_ones_and_all_fits_into_a_frame():
    known = Known()
    known.note("a", STATUS, 0.0)
    filler = {name: "ü" * 50 for name in STATUS if name not in ("host", "status", "utilization")}
    for number in range(5000):
        known.note("a" * 63, {**STATUS, **filler, "host": f"{number}.{'h' * 180}"}, 1.0)
    listing = known.listing(2.0)
    assert STATUS["host"] in {one["host"] for one in listing}
    assert 1000 < len(listing) < 5000
    answer = {"services": listing, "listening_s": 1.0, "transports": []}
    assert len(framing.encode(control.ok(1, answer))) < framing.MAX_FRAME
    known.note("a", STATUS, 60.0)
    for number in range(100):  # there is room again
        known.note("a", {**STATUS, "host": f"late.{number}"}, 95.0)
    assert len(known.listing(96.0)) == 101
