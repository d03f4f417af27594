"""What workers count stands where the supervisor reads it."""

import os

import pytest

from zocalo_daemon.protocol import board as layout
from zocalo_daemon.protocol import tally
from zocalo_daemon.supervision import process
from zocalo_daemon.supervision.board import Board
from zocalo_daemon.worker.board import Notes, open_board


def writer(kept, number):
    return Notes(open_board(os.dup(kept.fileno())), number)


@pytest.fixture
def kept():
    made = Board()
    yield made
    made.close()


def test_calls_and_callbacks_are_counted_for_one_worker_alone(kept):
    first, second = kept.allocate(1), kept.allocate(2)
    notes = writer(kept, first)
    for place in (tally.SEND, tally.SEND, tally.ACK, None):
        notes.progress(place)
    begun = notes.begin(5)
    notes.end(None, begun - 30_000_000_000)
    notes.end(None, begun - 20_000_000)
    counts = kept.tally(first)
    assert (counts[tally.SEND], counts[tally.ACK], counts[tally.NACK]) == (2, 1, 0)
    assert 30.02e9 <= counts[tally.NANOSECONDS] < 31e9
    buckets = counts[tally.BUCKETS :]
    assert sum(buckets) == 2
    assert buckets[-1] == 1, "longer than all bounds"
    assert buckets[tally.BOUNDS.index(0.025)] == 1
    assert kept.tally(second) == tally.NOTHING == kept.tally(0)


def test_the_next_worker_begins_at_zero_and_the_last_tally_is_there_until_then(kept):
    number = kept.allocate(1)
    writer(kept, number).progress(tally.SEND)
    kept.free(number)
    assert kept.tally(number)[tally.SEND] == 1
    assert kept.allocate(2) == number
    assert kept.tally(number) == tally.NOTHING


def test_what_a_service_forks_counts_elsewhere(kept):
    number = kept.allocate(1)
    notes = writer(kept, number)
    notes.detach()
    notes.progress(tally.SEND)
    notes.end(None, notes.begin(1))
    assert kept.tally(number) == tally.NOTHING


def test_a_board_of_older_code_has_no_tallies():
    kept = Board(process.shared_memory(layout.FILE, layout.SIZE), {1: 7})
    notes = writer(kept, 1)
    notes.progress(tally.SEND)
    notes.end(None, notes.begin(1))
    assert kept.read(1).ended == 1
    assert kept.tally(1) == tally.NOTHING
    assert kept.allocate(8) == 2
    kept.close()
