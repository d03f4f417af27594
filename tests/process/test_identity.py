"""Workers with a user, priorities, umask and directory of their own, under a daemon that runs as root."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.daemonkit import let_in
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def room():
    """A directory where everybody may write."""
    directory = Path(tempfile.mkdtemp(prefix="zocalo-identity-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def introducer(room, **more):
    return {"class": "introducing:Introducer", "environment": {"file": str(room / "said")}, **more}


def as_nobody(what: Callable[[], object]) -> str:
    """Do something as another user, in a fork: the interpreter may stand where he cannot run it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_uid)
            what()
        except BaseException as e:
            os.write(writer, str(e).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def said(room):
    return json.loads((room / "said").read_text())


def test_priorities_umask_and_directory(daemon, room):
    more = {"nice": 3, "ionice": "best-effort/6", "umask": "0037", "working_directory": str(room)}
    daemon({"one": introducer(room, **more)}).start()
    found = said(room)
    assert found["nice"] == os.nice(0) + 3
    assert found["ionice"] == [psutil.IOPRIO_CLASS_BE, 6]
    assert (found["umask"], found["directory"]) == (0o037, str(room))
    assert (room / "said").stat().st_mode & 0o777 == 0o640


def test_idle_at_disks_and_without_anything_as_the_daemon(daemon, room):
    d = daemon({"one": introducer(room, ionice="idle")}).start()
    assert said(room)["ionice"][0] == psutil.IOPRIO_CLASS_IDLE
    d.configure({"one": introducer(room)})
    d.ctl("reload")
    found = said(room)
    assert found["users"] == [os.getuid()]
    assert found["directory"] == str(Path.cwd())


def test_a_worker_of_another_user_works_and_ends_as_others_do(daemon, room):
    d = daemon({"one": introducer(room, user="nobody")})
    let_in(d.directory)
    d.start()
    found = said(room)
    assert found["users"] == [NOBODY.pw_uid]
    assert found["groups"] == [NOBODY.pw_gid]
    assert found["more"] == [NOBODY.pw_gid]
    assert found["home"] == NOBODY.pw_dir
    d.ctl("send", "introduce", '"hello"')
    wait_until((room / "said.message").exists)
    d.ctl("restart", "one")
    worker = said(room)["pid"]
    assert worker != found["pid"]
    d.process.kill()  # the kernel has not forgotten with the change of user what it was told
    wait_until(lambda: not psutil.pid_exists(worker))


def test_a_group_alone(daemon, room):
    d = daemon({"one": introducer(room, group="daemon")})
    d.start()
    found = said(room)
    assert (found["users"], found["groups"], found["more"]) == ([0], [1], [1])


def test_a_user_who_is_not_there_keeps_the_worker_from_running_and_check_says_so(daemon, room):
    d = daemon({"one": introducer(room, user="nobody-knows-him", restart={"limit": 1, "backoff": "10ms"})})
    checked = subprocess.run(
        [d.command, "--config", d.config_file, "--check"], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 1
    assert "services.one.user: there is no user 'nobody-knows-him' on this machine" in checked.stderr
    d.start(ready=False)
    d.wait_state("one/0", "failed")
    assert "nobody-knows-him" in d.ctl("logs", "one").stdout
    assert not (room / "said").exists()


def test_another_user_without_the_secret_of_a_worker_is_not_let_in(daemon, room):
    d = daemon({"one": introducer(room, user="nobody")}, relay={"clients": "user"})
    let_in(d.directory)
    d.start()
    answer = as_nobody(lambda: RelayTransport.for_worker(d.socket.with_name("relay.sock"), "").connect())
    assert "the relay accepts no other users than workers of this daemon" in answer
