"""A control socket that systemd passes: commands wait in it while no daemon runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.waiting import wait_until

# Becomes zocalod with the descriptor in the first argument as the number 3, as systemd would start it.
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": sys.argv[2]}
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.fixture
def listener():
    with socket.socket(socket.AF_UNIX) as one:
        yield one


def start(d, listener, name="control", **more):
    os.set_inheritable(listener.fileno(), True)
    within = [sys.executable, "-c", START, str(listener.fileno()), name]
    command = [*within, str(d.command), "--config", str(d.config_file)]
    with (d.directory / "stderr").open("ab") as log:
        d.process = subprocess.Popen(command, stderr=log, close_fds=False, **more)
    return d


def test_commands_wait_over_a_restart(daemon, listener):
    d = daemon({})
    listener.bind(str(d.socket))
    listener.listen()
    asked = subprocess.Popen([str(d.command.with_name("zocaloctl")), "--socket", str(d.socket), "status"])
    start(d, listener)
    assert asked.wait(30) == 0
    assert d.stop() == 0
    assert d.socket.exists()  # it is not the daemon's to remove
    asked = subprocess.Popen([str(d.command.with_name("zocaloctl")), "--socket", str(d.socket), "status"])
    start(d, listener)
    assert asked.wait(30) == 0


def test_nobody_is_turned_away_while_it_is_restarted(daemon, listener, tmp_path):
    d = daemon({})
    listener.bind(str(d.socket))
    listener.listen(64)
    start(d, listener)
    done = threading.Event()
    results = []

    def send():
        while not done.is_set():
            results.append(d.ctl("send", "in", "1", check=False))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(3):
            before = len(results)
            wait_until(lambda before=before: len(results) > before + 2)
            assert d.stop() == 0
            start(d, listener)
    finally:
        done.set()
        sender.join()
    assert {(one.returncode, one.stderr) for one in results} == {(0, "")}
    queue = next(one for one in json.loads(d.ctl("--json", "queues").stdout) if one["name"] == "in")
    assert queue["ready"] == len(results)


def test_new_code_keeps_it(daemon, listener):
    d = daemon({})
    listener.bind(str(d.socket))
    listener.listen()
    start(d, listener, name="")
    wait_until(lambda: d.status()["daemon"]["state"] == "running")
    d.ctl("reexec")
    assert d.status()["daemon"]["pid"] == d.process.pid
    assert d.stop() == 0
    assert d.socket.exists()


def test_only_who_may_can_connect(daemon, listener):
    d = daemon({})
    listener.bind(str(d.socket))
    d.socket.chmod(0o666)
    listener.listen()
    start(d, listener)
    d.wait_ready()
    assert d.socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("wrong", ["place", "kind"])
def test_a_wrong_socket_is_refused(daemon, listener, tmp_path, wrong):
    d = daemon({})
    listener.bind(str(tmp_path / "elsewhere.sock" if wrong == "place" else d.socket))
    if wrong == "place":
        listener.listen()
    start(d, listener)
    assert d.process.wait(30) == 1
    assert "ListenStream=" in d.stderr()
    assert d.stderr().count("\n") == 1


def test_sockets_for_somebody_else_are_left_alone(daemon):
    d = daemon({}).start(env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert d.stop() == 0
    assert not d.socket.exists()
