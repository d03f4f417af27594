"""When a worker has done enough."""

from zocalo_daemon.worker.board import Notes, scrap
from zocalo_daemon.worker.recycling import Recycling, limiter, resident_memory

SECOND = 10**9
MIB = 2**20


def test_after_so_many_messages_it_says_so_and_again_after_a_minute():
    said = []
    limits = Recycling(10000, None, said.append, rss=lambda: 0)
    for ended, now in ((9999, 1), (10000, 2), (10001, 3), (10500, 61), (10600, 63), (11000, 90)):
        limits.look(ended, now * SECOND)
    assert said == ["10,000 messages", "10,600 messages"]


def test_memory_is_looked_at_once_a_second_and_told_once_a_minute():
    said, looks = [], []
    used = {0: 90, 1: 99, 2: 101, 3: 102, 62: 2200}

    def rss():
        looks.append(len(looks))
        return used.get(looks[-1], 90) * MIB

    limits = Recycling(None, 100 * MIB, said.append, rss)
    for tenths in range(640):
        limits.look(tenths, SECOND + tenths * SECOND // 10)
    assert looks == list(range(64))
    assert said == ["RSS 101.0 MiB", "RSS 2.1 GiB"]


def test_limits_count_from_when_they_are_set():
    notes, said = Notes(scrap(), 0), []
    limit = limiter(notes, said.append)

    def work(times):
        for _ in range(times):
            notes.begin(1)
            notes.end(None, 0)

    limit({"service": "a"})
    work(3)
    limit({"do": "limits", "max_messages": 5, "max_rss": None})
    work(1)
    assert said == []
    work(2)
    assert said == ["5 messages"]
    limit({"max_messages": None, "max_rss": 1})
    work(1)
    assert said[1].startswith("RSS ")
    limit({"max_messages": None, "max_rss": None})
    assert notes.on_end is None, "no limits, no looks"


def test_this_process_uses_memory():
    before = resident_memory()
    ballast = b"x" * (64 * MIB)
    assert resident_memory() - before > 60 * MIB
    del ballast
