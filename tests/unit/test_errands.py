"""What takes time is done beside the loop."""

import select
import threading

import pytest

from zocalo_daemon.errors import Unavailable, UsageError, ZocaloError
from zocalo_daemon.relay.errands import LIMIT, Errands


def collected(errands: Errands, results: list, count: int) -> None:
    while len(results) < count:
        assert select.select([errands.fileno()], [], [], 10)[0]
        errands.collect()


def test_results_and_errors_come_back_into_the_loop():
    errands, results = Errands(), []

    def wrong() -> None:
        raise UsageError("no such thing")

    def broken() -> None:
        raise KeyError("x")

    for work in (lambda: threading.current_thread().name, wrong, broken):
        errands.run(work, lambda result, error: results.append((result, error)))
        collected(errands, results, len(results) + 1)
    assert results[0] == ("errand", None)
    assert isinstance(results[1][1], UsageError)
    assert isinstance(results[2][1], ZocaloError) and results[2][1].message == "KeyError: 'x'"


def test_a_broker_that_hangs_collects_no_threads():
    errands, results, go = Errands(), [], threading.Event()
    for _ in range(LIMIT):
        errands.run(go.wait, lambda *both: results.append(both))
    with pytest.raises(Unavailable):
        errands.run(go.wait, lambda *both: results.append(both))
    go.set()
    collected(errands, results, LIMIT)
    errands.run(go.wait, lambda *both: results.append(both))
    collected(errands, results, LIMIT + 1)
