"""Completion in real shells: a line is typed, the key is pressed, and the shell says what it would run."""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import zocalo_daemon
from tests.daemonkit import COMMANDS
from tests.process.control_harness import Daemon
from tests.waiting import DEADLINE, wait_until

SHELLS = Path(zocalo_daemon.__file__).parent / "client/shells"
SCRIPTS = {"bash": "zocaloctl.bash", "zsh": "_zocaloctl", "fish": "zocaloctl.fish"}
INSTANCES = [{"id": f"dispatcher/{number}"} for number in range(2)]
STATUS = {
    "services": [
        {"name": "dispatcher", "state": "ready", "instances": INSTANCES},
        {"name": "spotfinder", "state": "ready", "instances": [{"id": "spotfinder/0"}]},
    ],
    "transports": [],
}
QUEUES = [{"name": "images", "ready": 3}, {"name": "odd queue:a&b", "ready": 1}]


def needed(shell):
    """Skip a test of a shell that is not there; in CI all of them are."""
    if not shutil.which(shell):
        if os.environ.get("CI"):
            pytest.fail(f"{shell} is not installed")
        pytest.skip(f"{shell} is not installed")


@pytest.fixture
def daemon(tmp_path):
    def answer(request):
        request.ok({"status": STATUS, "queues": QUEUES}[request.op])

    fake = Daemon(tmp_path / "zocalod.sock", handler=answer)
    yield fake
    fake.stop()


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, shell, socket, directory):
        self.shell = shell
        environ = {
            **os.environ,
            "ZOCALO_SOCKET": str(socket),
            "HOME": str(directory),
            "TERM": "dumb",
            "PS1": "$ ",
        }
        environ["PATH"] = f"{COMMANDS}:{environ['PATH']}"
        arguments = {
            "bash": ["bash", "--norc", "--noprofile", "-i"],
            "zsh": ["zsh", "-f", "-i"],
        }[shell]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(arguments[0], arguments, environ)
        self.said = ""
        if shell == "zsh":
            self.type("unset zle_bracketed_paste; autoload -U compinit; compinit -u -D\n")
        self.type(f"source {SHELLS / SCRIPTS[shell]}; printf '%s' ready-; echo now\n")
        self.read_until(r"ready-now")

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def read_until(self, pattern):
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.said, re.DOTALL)):
            assert time.monotonic() < end, self.said
            if select.select([self.fd], [], [], 0.1)[0]:
                self.said += os.read(self.fd, 65536).decode(errors="replace")
        self.said = self.said[found.end() :]
        return found

    def complete(self, line):
        """Return the words that the shell would run after the key was pressed at the end of a line."""
        # The line is run as arguments of printf, put in front of it.
        self.type(f"{line}\t\x01printf '<%s>' go'ing'; printf '[%s]' \x05; printf '<%s>' do'ne'\n")
        said = self.read_until(r"<going>(.*?)<done>")[1]
        return re.findall(r"\[([^\]]*)\]", said)

    def close(self):
        os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request, daemon, tmp_path):
    needed(request.param)
    (tmp_path / "recipe.json").write_text("{}")
    one = Terminal(request.param, tmp_path / "zocalod.sock", tmp_path)
    yield one
    one.close()


def test_lines_in_real_shells(terminal):
    for typed, result in {
        "zocaloctl vers": ["zocaloctl", "version"],
        "zocaloctl stop spotf": ["zocaloctl", "stop", "spotfinder"],
        "zocaloctl stop dispatcher/0 dispatcher/": ["zocaloctl", "stop", "dispatcher/0", "dispatcher/1"],
        "zocaloctl scale dispa": ["zocaloctl", "scale", "dispatcher="],
        "zocaloctl send 'im": ["zocaloctl", "send", "images"],
        "zocaloctl send odd": ["zocaloctl", "send", "odd queue:a&b"],
        "zocaloctl send odd\\ queue:": ["zocaloctl", "send", "odd queue:a&b"],
        "zocaloctl status --wa": ["zocaloctl", "status", "--watch"],
        "zocaloctl recipe check rec": ["zocaloctl", "recipe", "check", "recipe.json"],
        "zocaloctl dlq rei": ["zocaloctl", "dlq", "reinject"],
        "zocaloctl stop nothing": ["zocaloctl", "stop", "nothing"],
    }.items():
        assert terminal.complete(typed) == result, typed


def fish(line, socket, directory):
    """Return what fish offers at the end of a line."""
    script = f'source {SHELLS / SCRIPTS["fish"]}; complete -C "$LINE"'
    environ = {**os.environ, "ZOCALO_SOCKET": str(socket), "HOME": str(directory), "LINE": line}
    environ["PATH"] = f"{COMMANDS}:{environ['PATH']}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        env=environ,
        cwd=directory,
        timeout=20,
    )
    assert done.stderr == ""
    return [entry.partition("\t")[0] for entry in done.stdout.splitlines()]


def test_lines_in_fish(daemon, tmp_path):
    needed("fish")
    (tmp_path / "recipe.json").write_text("{}")
    for typed, result in {
        "zocaloctl vers": ["version"],
        "zocaloctl ": None,
        "zocaloctl stop spotf": ["spotfinder", "spotfinder/0"],
        "zocaloctl stop dispatcher/0 dispatcher/": ["dispatcher/1"],
        "zocaloctl scale dispa": ["dispatcher="],
        "zocaloctl send odd": ["odd queue:a&b"],
        "zocaloctl status --wa": ["--watch"],
        "zocaloctl recipe check rec": ["recipe.json"],
        "zocaloctl dlq rei": ["reinject"],
        "zocaloctl stop nothing": [],
    }.items():
        found = fish(typed, tmp_path / "zocalod.sock", tmp_path)
        assert found == result if result is not None else "status" in found, typed


def ask(*line, socket):
    begin = time.monotonic()
    done = subprocess.run(
        [COMMANDS / "zocaloctl", "completion", "words", "--", *line],
        capture_output=True,
        text=True,
        env={**os.environ, "ZOCALO_SOCKET": str(socket)},
        timeout=20,
    )
    return done, time.monotonic() - begin


def test_silent_without_a_daemon(tmp_path):
    done, _ = ask("stop", "", socket=tmp_path / "nothing.sock")
    assert (done.returncode, done.stdout, done.stderr) == (0, "words\n", "")


def test_it_does_not_load_what_takes_long(tmp_path):
    code = (
        "import sys; from zocalo_daemon.client.main import main; main(sys.argv[1:]);"
        "print(sorted({'argparse', 'json', 'typing', 'socket', 'pathlib', 'yaml'} & set(sys.modules)))"
    )
    python = COMMANDS / "python"
    line = ["completion", "words", "--", "stop", "--socket", str(tmp_path / "no"), ""]
    found = f"import sys; sys.path.insert(0, {str(SHELLS.parents[2])!r}); "
    arguments = [python, "-I", "-c", found + code, *line]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_daemon_that_does_not_answer_is_not_waited_for(tmp_path):
    held = []
    fake = Daemon(tmp_path / "zocalod.sock", handler=held.append)
    try:
        done, seconds = ask("stop", "", socket=tmp_path / "zocalod.sock")
    finally:
        fake.stop()
    wait_until(lambda: held)
    assert (done.stdout, done.stderr) == ("words\n", "")
    assert seconds < 3  # of which 0.3 are spent on the daemon; the machine may be busy


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_scripts_are_printed_and_have_the_right_syntax(shell):
    done = subprocess.run(
        [COMMANDS / "zocaloctl", "completion", shell], capture_output=True, text=True, check=True
    )
    assert done.stdout == (SHELLS / SCRIPTS[shell]).read_text()
    needed(shell)
    assert subprocess.run([shell, "-n", SHELLS / SCRIPTS[shell]], capture_output=True).returncode == 0
