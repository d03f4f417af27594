"""From the arguments of a service's calls to what travels."""

from __future__ import annotations

import datetime
import decimal

import pytest
import workflows

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.worker import messages


def make(message=b"x", **options):
    return messages.publication(protocol.QUEUE, "q", message, **options)


def test_a_plain_message_has_no_options():
    assert make() == [protocol.QUEUE, "q", {}, b"x", {}]


def test_options_are_numbers_and_truths():
    options = make(delay=1, expiration="2.5", exchange="e", priority="9", persistent="false")[4]
    assert options == {"delay": 1.0, "expiration": 2.5, "exchange": "e", "priority": 9, "persistent": False}


def test_no_delay_is_none_and_no_expiration_is_none():
    assert make(delay=0, expiration=None)[4] == {}
    assert make(expiration=0)[4] == {"expiration": 0.0}


def test_headers_are_copied():
    headers = {"a": 1}
    made = make(headers=headers)[2]
    assert made == headers and made is not headers


@pytest.mark.parametrize("body", ["ü", b"\xff", bytearray(b"b"), memoryview(b"m")])
def test_bodies_become_bytes(body):
    assert type(make(body)[3]) is bytes


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (1, {}),
        (None, {}),
        ("\ud800", {}),
        (b"", {"headers": {b"a": 1}}),
        (b"", {"delay": -1}),
        (b"", {"delay": float("inf")}),
        (b"", {"expiration": "soon"}),
        (b"", {"priority": 10}),
        (b"", {"priority": "high"}),
    ],
)
def test_what_no_broker_takes_is_an_error(message, options):
    with pytest.raises(workflows.Error):
        make(message, **options)


@pytest.mark.parametrize(
    ("arguments", "prefetch", "gate"),
    [
        ({}, 0, 1),
        ({"acknowledgement": True}, 0, 1),
        ({"acknowledgement": True, "prefetch_count": 7}, 7, 7),
        ({"acknowledgement": True, "prefetch_count": 0}, 65535, 65535),
        ({"prefetch_count": 7}, 0, 1),  # without acknowledgement one at a time is in hand
    ],
)
def test_prefetch(arguments, prefetch, gate):
    options, made = messages.subscribe_options(**arguments)
    assert (options["prefetch"], made) == (prefetch, gate)


def test_ignore_namespace_travels():
    assert make(ignore_namespace=True)[4] == {"ignore_namespace": True} and make()[4] == {}
    assert messages.subscribe_options(ignore_namespace=True)[0]["ignore_namespace"] is True


def test_odd_header_values():
    assert messages.plain(decimal.Decimal("1.5")) == 1.5
    assert messages.plain(datetime.date(2024, 1, 2)) == "2024-01-02"
    with pytest.raises(TypeError, match="object"):
        messages.plain(object())


@pytest.mark.parametrize(
    ("requeue", "reason", "told"),
    [
        (None, None, None),
        (True, "why", True),
        (False, "why", False),
        (None, "why", "why"),
        (None, ValueError("why"), "why"),
        (None, "\ud800", "\\ud800"),
        (None, "x" * 1000, "x" * 500),
    ],
)
def test_what_a_nack_says(requeue, reason, told):
    assert messages.requeue_or_reason(requeue, reason) == told


def test_json_that_is_nested_too_deep_stays_as_it_is():
    assert messages.from_json("[" * 100_000) == "[" * 100_000
