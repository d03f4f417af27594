"""The command line of a forkserver, and what it says when msgpack is missing."""

import sys
from pathlib import Path

from zocalo_daemon.protocol import channel
from zocalo_daemon.worker import launch


def test_command():
    own = launch.command(None, Path("/opt/zocalo_daemon"))
    assert own[0] == sys.executable
    assert own[-1] == "/opt/zocalo_daemon"
    foreign = launch.command(Path("/opt/dials/bin/python"), Path("/opt/zocalo_daemon"))
    assert foreign[0] == "/opt/dials/bin/python"
    assert foreign[1:] == own[1:]


def test_failed_is_what_the_channel_understands():
    text = "é" * 5000
    message = channel.decode(launch._failed("install msgpack"))
    assert message == {"event": "failed", "error": "install msgpack"}
    assert channel.decode(launch._failed(text))["error"] == text[:2000]
