"""zocaloctl and the real daemon understand each other, operation by operation."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.daemonkit import COMMANDS, SERVICES, let_in
from tests.waiting import wait_until

REFUSER = '''
from workflows.services.common_service import CommonService


class Refuser(CommonService):
    """Refuses every message."""

    def initializing(self):
        self._transport.subscribe("refused", self.refuse, acknowledgement=True)

    def refuse(self, header, message):
        self._transport.nack(header)
'''


@pytest.fixture
def refusing(daemon, tmp_path):
    (tmp_path / "refuser.py").write_text(REFUSER)
    runtimes = {"default": {"python_path": [str(SERVICES), str(tmp_path)]}}
    return daemon({"refuser": {"class": "refuser:Refuser", "instances": 2}}, runtimes=runtimes).start()


def dead_letters(d, *more):
    return json.loads(d.ctl("dlq", "list", "--json", *more).stdout)


def test_queues_and_dead_letters(refusing):
    d = refusing
    for number in range(3):
        d.ctl("send", "refused", json.dumps({"n": number}), "--header", "k=v")
    wait_until(lambda: len(dead_letters(d)) == 3)
    names = [queue["name"] for queue in json.loads(d.ctl("queues", "*refused", "--json").stdout)]
    assert sorted(names) == ["dlq.refused", "refused"]
    assert json.loads(d.ctl("queues", "nothing*", "--json").stdout) == []
    first, second, third = dead_letters(d, "refused")
    assert (first["origin"], first["body"]) == ("refused", '{"n": 0}')
    assert first["headers"]["k"] == "v"
    assert "refused" in d.ctl("dlq", "list").stdout
    assert d.ctl("dlq", "purge", "refused", "--id", str(first["id"])).stdout == "1 dead letter deleted\n"
    elsewhere = d.ctl("dlq", "reinject", "refused", "--id", str(second["id"]), "-d", "elsewhere")
    assert elsewhere.stdout == "1 dead letter sent to elsewhere\n"
    assert [letter["id"] for letter in dead_letters(d)] == [third["id"]]
    assert d.ctl("dlq", "reinject").stdout.startswith("1 dead letter sent back")
    wait_until(lambda: [letter["body"] for letter in dead_letters(d)] == ['{"n": 2}'])  # refused again
    assert json.loads(d.ctl("dlq", "purge", "--yes", "--json").stdout) == {"count": 1}
    (queue,) = json.loads(d.ctl("queues", "elsewhere", "--json").stdout)
    assert queue["ready"] == 1


def test_go_reaches_the_queue_of_the_dispatcher(refusing):
    d = refusing
    d.ctl("go", "-r", "one", "-n")
    (queue,) = json.loads(d.ctl("queues", "processing_recipe", "--json").stdout)
    assert queue["ready"] == 1


def test_changes_and_what_they_leave(refusing):
    d = refusing
    assert d.ctl("stop", "refuser/1").stdout == "refuser/1 stopped\n"
    stopped = d.ctl("status", check=False)
    assert stopped.returncode == 3
    assert "1 of 2 instances ready" in stopped.stdout
    assert d.ctl("start", "ref*").stdout == "refuser/0 ready\nrefuser/1 ready\n"
    assert d.ctl("scale", "refuser=1").returncode == 0
    assert len(d.instances()) == 1
    assert d.ctl("reload").stdout
    assert "ready" in d.ctl("events", "refuser").stdout
    assert d.ctl("logs", "-n", "1", "zocalod").stdout.count("\n") == 1
    assert f"pid {d.process.pid}" in d.ctl("version").stdout


def test_status_says_who_has_stopped_what(refusing):
    d = refusing
    d.ctl("stop", "refuser/1")
    who = "root" if os.getuid() == 0 else f"uid {os.getuid()}"
    assert d.instance("refuser/1")["reason"].startswith(f"by {who} (zocaloctl, pid ")
    assert f"by {who} (" in d.ctl("status", check=False).stdout
    d.ctl("start", "refuser/1")
    assert d.instance("refuser/1")["reason"] is None


def test_what_cannot_be_done(refusing):
    d = refusing
    assert d.ctl("start", "nothing", check=False).returncode == 5
    assert d.ctl("logs", "nothing", check=False).returncode == 5
    assert d.ctl("send", "q", "1", "--transport", "nothing", check=False).returncode != 0
    d.config_file.write_text("version: 1\nservces: {}\n")
    bad = d.ctl("reload", check=False)
    assert bad.returncode == 1
    assert "servces" in bad.stderr
    assert all(line.startswith("zocaloctl: ") for line in bad.stderr.splitlines())
    assert d.ctl("status").returncode == 0
    d.stop()
    assert d.ctl("status", check=False).returncode == 7


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_may_nothing_without_a_role(refusing, tmp_path):
    let_in(tmp_path / "d")
    refusing.socket.chmod(0o666)
    code = (
        "import argparse, gettext, grp, locale, os, pwd, sys, zocalo_daemon.client.status\n"
        "from zocalo_daemon.client.main import main\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    python = Path(COMMANDS) / "python"
    done = subprocess.run(
        [python, "-c", code, "--socket", refusing.socket, "status"], capture_output=True, timeout=20
    )
    assert done.returncode == 4
    assert b"yours is none" in done.stderr
