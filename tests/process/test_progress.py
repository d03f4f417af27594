"""What workers note on the board while they handle messages, in the real daemon."""

from __future__ import annotations

import mmap
from pathlib import Path

from tests.waiting import wait_until
from zocalo_daemon.protocol import board


class Reader:
    """Reads the board of a running daemon."""

    def __init__(self, daemon):
        for link in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
            if board.FILE in str(link.readlink()):
                with link.open("rb") as file:
                    self._memory = memoryview(mmap.mmap(file.fileno(), board.SIZE, prot=mmap.PROT_READ))

    def entry(self, number):
        return board.read(self._memory, number)


def test_a_worker_notes_what_it_does_with_each_message(daemon, tmp_path):
    d = daemon({"slow": {"class": "trial:Slow", "environment": {"directory": str(tmp_path)}}}).start()
    reader = Reader(d)
    idle = reader.entry(1)
    assert idle.progress > 0, "it has subscribed"
    assert (idle.given, idle.begun, idle.ended, idle.asking) == (0, 0, 0, 0)
    d.ctl("send", "slow", "0.0")
    wait_until(lambda: reader.entry(1).ended == 1, "the first callback")
    done = reader.entry(1)
    assert (done.given, done.begun, done.ended) == (1, 1, 1)
    assert done.progress >= done.handed > idle.progress
    assert done.delivery > 0
    d.ctl("send", "slow", "60")
    wait_until(lambda: reader.entry(1).begun == 2, "the second callback")
    running = reader.entry(1)
    assert (running.given, running.begun, running.ended) == (2, 2, 1)
    assert running.delivery > done.delivery
    pid = d.kill("slow/0")
    wait_until(lambda: d.instance("slow/0")["pid"] not in (None, pid), "another worker")
    wait_until(lambda: reader.entry(1).begun == 1, "the entry, with the next worker and the same delivery")
