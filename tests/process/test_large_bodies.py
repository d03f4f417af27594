"""A body of 50 MB goes through the supervisor in pieces: it holds none of it, and answers all the while."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.controlkit import Control, Refused
from tests.daemonkit import COMMANDS, Daemon
from tests.waiting import wait_until

SIZE = 50_000_000
GAP = 0.5  # seconds; on a busy machine


@pytest.fixture(scope="module")
def d(tmp_path_factory):
    """A daemon without services."""
    d = Daemon(tmp_path_factory.mktemp("bodies"), {})
    yield d.start()
    d.close()


def peak(d):
    """Return how many bytes the supervisor had in memory at most (proc_pid_status(5))."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{d.process.pid}/status").read_text())[1]) * 1024


def test_others_are_answered_while_a_large_dead_letter_is_sent_back(d, tmp_path):
    letter, body = tmp_path / "letter", "0123456789" * (SIZE // 10)
    letter.write_text(json.dumps({"exported": {"origin": "large"}, "header": {"a": "b"}, "message": body}))
    command = [COMMANDS / "zocaloctl", "--socket", d.socket, "dlq", "reinject", letter, "-d", "dlq.large"]
    before, longest = peak(d), 0.0
    other = Control(d.socket)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
        while client.poll() is None:
            asked = time.monotonic()
            other.ask("version")
            longest = max(longest, time.monotonic() - asked)
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(0.002)
    assert client.returncode == 0
    assert longest < GAP
    assert peak(d) - before < SIZE // 4
    assert len([line for line in d.stderr().splitlines() if "asked for" in line]) == 1
    other.close()
    d.ctl("dlq", "purge", "large", "--location", str(tmp_path / "back"))
    (back,) = (tmp_path / "back").rglob("msg-*")
    found = json.loads(back.read_text())
    assert (found["message"], found["header"]["a"]) == (body, "b")


def test_a_relay_that_dies_between_pieces_is_told_of(d):
    client = Control(d.socket)
    assert [client.ask("piece", data=data) for data in (b"12", b"345")] == [2, 5]
    pid = int(d.status()["daemon"]["relay"]["pid"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: d.status()["daemon"]["relay"]["pid"] not in (0, pid), every=0.05)
    with pytest.raises(Refused, match="0 of 5 bytes are here: send it again"):
        client.ask("send", queue="after", body=b"", size=5)
    assert [client.ask("piece", data=data) for data in (b"12", b"345")] == [2, 5]
    assert client.ask("send", queue="after", body=b"", size=5) is None
    client.close()
    assert [one["ready"] for one in json.loads(d.ctl("queues", "after", "--json").stdout)] == [1]
