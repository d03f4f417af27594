"""When a signal may interrupt a job."""

from __future__ import annotations

import signal
import sys
from types import SimpleNamespace

import pytest

from zocalo_daemon.worker.connection import Connection
from zocalo_daemon.wrapper.signals import Interrupted, Signals, _is_writing


def test_not_while_a_frame_is_written():
    """Half a frame would end the line on which the failure is to be told."""
    seen = []
    socket = SimpleNamespace(sendall=lambda _data: seen.append(_is_writing(sys._getframe())))
    Connection._write(SimpleNamespace(_socket=socket), b"frame")
    assert seen == [True]
    assert not _is_writing(sys._getframe())


def test_only_the_job_is_interrupted(monkeypatch):
    limits = []
    monkeypatch.setattr(Signals, "_limit", lambda _self, status: limits.append(status))
    signals = Signals()
    with pytest.raises(SystemExit) as left:
        signals._take(signal.SIGTERM, None)
    assert left.value.code == 143
    signals.arm()
    with pytest.raises(Interrupted, match="SIGTERM") as interrupted:
        signals._take(signal.SIGTERM, None)
    assert interrupted.value.exit_status == 143
    signals._take(signal.SIGTERM, None)  # what is still to be sent gets some time
    assert limits == [143, 8]
