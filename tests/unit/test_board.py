"""The board's entries stand where the writers put them."""

from zocalo_daemon.protocol import board
from zocalo_daemon.protocol.board import Entry


def test_each_number_is_read_from_where_a_writer_puts_it():
    memory = bytearray(3 * board.ENTRY_SIZE)
    numbers = memoryview(memory).cast("Q")
    places = (board.PROGRESS, board.HANDED, board.DELIVERY, board.BEGUN, board.ENDED, board.GIVEN)
    for value, place in enumerate(places, 1):
        numbers[(board.ENTRY_SIZE + place) // 8] = value
    assert board.read(memoryview(memory), 1) == Entry(1, 2, 3, 4, 5, 6)
    assert board.read(memoryview(memory), 0) == board.read(memoryview(memory), 2) == Entry()


def test_clear_concerns_one_entry():
    memory = bytearray(b"\xff" * (3 * board.ENTRY_SIZE))
    board.clear(memoryview(memory), 1)
    assert board.read(memoryview(memory), 1) == Entry()
    assert memory[: board.ENTRY_SIZE] == memory[2 * board.ENTRY_SIZE :] == b"\xff" * board.ENTRY_SIZE
