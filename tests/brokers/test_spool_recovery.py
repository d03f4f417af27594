"""A spool whose process is killed, for real and at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.brokers.test_spool import Stage

# Puts numbers into the spool and forwards them, by turns, to a broker that confirms at once; says on stdout
# what has been answered (+) and what the broker has got (-). It never ends by itself.
_CHILD = """
import itertools, os, sys, time
from pathlib import Path
from zocalo_daemon.brokers.base import *
from zocalo_daemon.relay.spool import Spool
from zocalo_daemon.relay.spooling import Job

away = BrokerStatus("connecting", "")
there = BrokerStatus("connected", "")
state = away
lines = []

def send(publications, unit, answer):
    lines.append(b"-%s\\n" % publications[0].body)
    answer(Confirmed(0))

spool = Spool("child", Path(sys.argv[1]), 1 << 30, itertools.count(1))
spool.attach(send, lambda: state)
spool.look()
time.sleep(0.55)
for number in itertools.count():
    def answer(event, number=number):
        assert isinstance(event, Confirmed)
        lines.append(b"+%d\\n" % number)
    spool.submit(Job([Publication(Kind.QUEUE, "q", {}, b"%d" % number)], answer, patient=False))
    if number % 7 == 0:
        # Forwards 200 in a turn and is never empty, so that nothing goes past the spool.
        state = there if spool.backlog.count > 400 else away
        spool.poll(time.monotonic())
        os.write(1, b"".join(lines))
        lines.clear()
"""


@pytest.mark.parametrize("lines", [1, 40, 300, 3000])
def test_killed_in_the_middle_nothing_is_lost_nor_out_of_order(tmp_path, lines):
    place = tmp_path / "spool"
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(place)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    said += [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    assert child.wait() == -signal.SIGKILL
    answered = {int(line[1:]) for line in said if line[:1] == b"+"}
    forwarded = [int(line[1:]) for line in said if line[:1] == b"-"]

    stage = Stage(place)
    assert stage.spool.figures()["spooled_since"] is not None
    stage.turns()
    left = [int(body) for body in stage.drain()]
    assert left == sorted(set(left))
    assert forwarded == list(range(len(forwarded)))
    assert answered <= set(forwarded) | set(left)
    if forwarded and left:
        assert left[0] <= forwarded[-1] + 1  # no gap; what was forwarded lately may come again
        assert forwarded[-1] - left[0] < 400
