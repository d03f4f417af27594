"""Whom the relay serves: the workers of its daemon, or all scripts of its user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.daemonkit import Daemon
from tests.waiting import wait_until

MakeDaemon = Callable[..., Daemon]

SCRIPT = """\
import sys, workflows
from zocalo_daemon.worker.transport import RelayTransport
transport = RelayTransport()
try:
    transport.connect()
    transport.send("in", "from a script")
except workflows.Disconnected as e:
    sys.exit(str(e))
"""


def run_script(d: Daemon) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ZOCALO_RELAY_SOCKET": str(d.socket.with_name("relay.sock"))}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=env)


def recorder(file: Path) -> dict:
    return {"record": {"class": "trial:Recorder", "environment": {"file": str(file), "queue": "in"}}}


def test_a_script_is_refused_with_a_word_unless_the_configuration_lets_it_in(
    daemon: MakeDaemon, tmp_path: Path
):
    services = recorder(tmp_path / "out")
    d = daemon(services).start()
    refused = run_script(d)
    said = "the relay accepts only workers of this daemon; set relay.clients: user in zocalod.yaml"
    assert refused.returncode == 1
    assert said in refused.stderr
    wait_until(lambda: "the script with pid" in d.stderr(), "a line in the log")
    assert d.stderr().count(said) == 1
    d.ctl("send", "in", '"from a worker"')
    wait_until((tmp_path / "out").exists)
    # The change is one of the relay alone: the worker stays.
    pid = d.instance("record/0")["pid"]
    d.configure(services, relay={"clients": "user"})
    assert "relay.clients: workers -> user; reconnects" in d.ctl("reload").stdout
    wait_until(lambda: run_script(d).returncode == 0, "the script let in")
    wait_until(lambda: "from a script" in (tmp_path / "out").read_text())
    assert d.instance("record/0")["pid"] == pid


def test_the_secret_is_nowhere_to_be_read(daemon: MakeDaemon, tmp_path: Path):
    d = daemon(recorder(tmp_path / "out")).start()
    pid = d.instance("record/0")["pid"]
    status = d.status()["daemon"]
    pids = [d.process.pid, pid, status["relay"]["pid"], *(one["pid"] for one in status["forkservers"])]
    shown = b"".join(
        Path(f"/proc/{pid}/{file}").read_bytes() for pid in pids for file in ("cmdline", "environ")
    )
    marker = (d.state_dir / "zocalod.lock").read_text().split()[1].encode()
    assert shown.count(b"ZOCALO_DAEMON_LIFE=" + marker) == 3  # all but the supervisor
    for text in (shown.decode(errors="replace"), d.stderr(), d.ctl("--json", "status").stdout):
        assert not [word for word in text.replace("\0", " ").split() if len(word.split("=")[-1]) == 64]
