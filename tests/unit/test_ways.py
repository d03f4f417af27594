"""By which transport a job's messages go."""

import pytest

from zocalo_daemon.wrapper.ways import PIKA, POOL, STOMP, Asked, ways

BOTH = frozenset({PIKA, STOMP})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked(), [PIKA]),
        (Asked(default="OtherTransport"), ["OtherTransport"]),
        (Asked(pool=True), [POOL]),
        (Asked(pool=True, configured=frozenset({STOMP})), [POOL, STOMP]),
        (Asked(pool=True, configured=BOTH, default=STOMP), [POOL, STOMP]),
        (Asked(configured=BOTH, default=POOL), [PIKA]),
        # What was named is used, and nothing else.
        (Asked(transport=STOMP, flags=frozenset({PIKA}), pool=True, socket=True), [STOMP]),
        (Asked(flags=frozenset({STOMP}), pool=True, configured=BOTH), [STOMP]),
        (Asked(socket=True, environments=True, configured=BOTH), [POOL]),
        (Asked(environments=True, configured=frozenset({PIKA}), pool=True), [PIKA]),
        # An environment without a broker says nothing about brokers.
        (Asked(environments=True, pool=True), [POOL]),
    ],
)
def test_ways(asked: Asked, expected: list[str]):
    assert ways(asked) == expected
