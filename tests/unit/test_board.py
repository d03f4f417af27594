"""The board's entries stand where the writers put them, and say what has happened."""

import os
import sys
import threading
from pathlib import Path

import pytest

from zocalo_daemon.protocol import board
from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision.board import Board
from zocalo_daemon.worker.board import Notes, open_board


def test_each_number_is_read_from_where_a_writer_puts_it():
    memory = bytearray(3 * board.ENTRY_SIZE)
    numbers = memoryview(memory).cast("Q")
    places = (
        *(board.PROGRESS, board.HANDED, board.DELIVERY),
        *(board.BEGUN, board.ENDED, board.GIVEN, board.ASKING),
    )
    for value, place in enumerate(places, 1):
        numbers[(board.ENTRY_SIZE + place) // 8] = value
    assert board.read(memoryview(memory), 1) == Entry(1, 2, 3, 4, 5, 6, 7)
    assert board.read(memoryview(memory), 0) == board.read(memoryview(memory), 2) == Entry()


def test_clear_concerns_one_entry():
    memory = bytearray(b"\xff" * (3 * board.ENTRY_SIZE))
    board.clear(memoryview(memory), 1)
    assert board.read(memoryview(memory), 1) == Entry()
    assert memory[: board.ENTRY_SIZE] == memory[2 * board.ENTRY_SIZE :] == b"\xff" * board.ENTRY_SIZE


@pytest.fixture
def kept():
    """The supervisor's side of a board."""
    made = Board()
    yield made
    made.close()


def writer(kept, number):
    return Notes(open_board(os.dup(kept.fileno())), number)


def test_an_entry_is_taken_freed_and_empty_for_the_next_worker(kept):
    assert [kept.allocate(serial) for serial in (7, 8, 9)] == [1, 2, 3]
    writer(kept, 2).begin(5)
    assert kept.read(2).delivery == 5
    kept.free(2)
    kept.free(2)
    assert kept.taken == {1: 7, 3: 9}
    assert [kept.allocate(10), kept.allocate(11)] == [2, 4]
    assert kept.read(2) == Entry()


def test_when_all_entries_are_taken_a_worker_gets_none(kept):
    for serial in range(1, board.ENTRIES):
        assert kept.allocate(serial)
    assert kept.allocate(0) == 0
    assert kept.read(0) == Entry()
    kept.free(0)
    assert kept.allocate(0) == 0


def test_the_next_supervisor_goes_on_with_the_entries_of_the_last_one(kept):
    for serial in (7, 8, 9):
        kept.allocate(serial)
    writer(kept, 3).begin(5)
    second = Board(os.dup(kept.fileno()), {1: 7, 3: 9})
    assert second.read(3).delivery == 5
    assert [second.allocate(10), second.allocate(11)] == [2, 4]
    second.close()


def test_notes_of_one_message_after_the_other(kept):
    notes = writer(kept, kept.allocate(1))
    notes.given()
    first = kept.read(1)
    assert first.handed > 0
    assert (first.given, first.begun) == (1, 0)
    notes.given()
    assert kept.read(1).handed == first.handed, "the first one still waits since then"
    notes.begin(17)
    running = kept.read(1)
    assert (running.delivery, running.begun, running.ended) == (17, 1, 0)
    assert running.progress >= first.handed
    notes.progress()
    assert kept.read(1).progress > running.progress
    notes.end(None, 0)
    notes.begin(18)
    notes.given()
    assert kept.read(1).handed == first.handed, "its wait begins when this callback ends"
    notes.end(None, 0)
    notes.begin(19)
    notes.end(None, 0)
    notes.given()
    last = kept.read(1)
    assert (last.delivery, last.begun, last.ended, last.given) == (19, 3, 3, 4)
    assert last.handed > first.handed, "nothing waited when this one was handed over"


def test_the_delivery_is_the_outer_one_again_when_one_inside_it_has_ended(kept):
    notes = writer(kept, kept.allocate(1))
    notes.begin(1)
    notes.begin(2)
    assert kept.read(1).delivery == 2
    notes.end(1, 0)
    entry = kept.read(1)
    assert (entry.delivery, entry.begun, entry.ended) == (1, 2, 1)


def test_a_wait_for_the_relay_is_counted_while_it_lasts(kept):
    notes = writer(kept, kept.allocate(1))
    with notes.asking():
        with notes.asking():
            assert kept.read(1).asking == 2
        before = kept.read(1)
        assert before.asking == 1
    assert kept.read(1).asking == 0
    assert kept.read(1).progress > before.progress


def test_callbacks_in_several_threads_are_counted(kept):
    notes = writer(kept, kept.allocate(1))

    def work():
        for _ in range(2000):
            notes.given()
            notes.begin(3)
            notes.end(None, 0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    entry = kept.read(1)
    assert (entry.begun, entry.ended) == (8000, 8000)


def test_what_a_service_forks_writes_elsewhere(kept):
    notes = writer(kept, kept.allocate(1))
    notes.begin(1)
    before = kept.read(1)
    notes.detach()
    notes.given()
    notes.begin(2)
    notes.end(None, 0)
    notes.progress()
    assert kept.read(1) == before


def test_the_page_of_an_entry_is_empty_for_the_next_worker_and_costs_the_supervisor_nothing():
    board = Board()
    try:
        resident = shared_memory_in_use()
        numbers = [board.allocate(serial) for serial in range(1, 513)]
        assert shared_memory_in_use() - resident < 1024, "4 KiB for each would be 2048 KiB"
        page = board.page(numbers[-1])
        page[:] = b"x" * len(page)
        board.free(numbers[-1])
        assert board.allocate(1000) == numbers[-1]
        assert bytes(page) == bytes(len(page))
        page.release()
    finally:
        board.close()


def shared_memory_in_use() -> int:
    """Return the KiB of shared memory that this process has touched (proc_pid_status(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssShmem"))
