"""The command zocaloctl as it is installed, against a control server that answers what the test says."""

import argparse
import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.daemonkit import let_in
from tests.process.control_harness import DEADLINE, Daemon
from tests.waiting import wait_until
from zocalo_daemon.client import status as client_status
from zocalo_daemon.errors import ConfigError, NoSuchService, Unavailable
from zocalo_daemon.protocol.framing import MAX_FRAME

COMMAND = str(Path(sys.executable).with_name("zocaloctl"))
READY = {"id": "a/0", "pid": 4, "state": "ready", "uptime_s": 1.0, "processed": 3}
STATUS = {
    "daemon": {"pid": 1, "version": "0.1.0", "uptime_s": 3.2, "state": "running"},
    "services": [{"name": "a", "wanted": 1, "instances": [READY]}],
    "transports": [],
}
FAILED = {**STATUS, "services": [{"name": "a", "wanted": 1, "instances": [{**READY, "state": "failed"}]}]}


class Fake(Daemon):
    """Answers from a table: op to a value, an error, or a function of the request."""

    def __init__(self, path):
        self.answers = {"version": {}}
        super().__init__(path / "zocalod.sock", handler=self._answer)

    def _answer(self, request):
        answer = self.answers[request.op]
        if callable(answer):
            answer(request)
        elif isinstance(answer, Exception):
            raise answer
        else:
            request.ok(answer)

    @property
    def asked(self):
        """Operation and arguments of the latest request."""
        return self.requests[-1].op, self.requests[-1].args


@pytest.fixture
def daemon(tmp_path):
    fake = Fake(tmp_path)
    yield fake
    fake.stop()


@pytest.fixture
def environment(tmp_path):
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "PYTHONPATH", "COVERAGE_PROCESS_START")
    }
    return {**kept, "ZOCALO_SOCKET": str(tmp_path / "zocalod.sock"), "TMPDIR": str(tmp_path), "TZ": "UTC"}


@pytest.fixture
def ctl(environment):
    """Run zocaloctl to its end; no traceback ever."""

    def run(*arguments, stdin=b"", **variables):
        done = subprocess.run(
            [COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            timeout=DEADLINE * 2,
            env={**environment, **variables},
        )
        done.out, done.err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in done.err
        return done

    return run


@pytest.fixture
def running(environment):
    """Start zocaloctl and leave it running."""
    started = []

    def start(*arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        started.append(subprocess.Popen([COMMAND, *arguments], env=environment, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def complaint(done):
    """Return the one line on standard error."""
    (line,) = done.err.splitlines()
    assert line.startswith("zocaloctl: ")
    return line


# -- status


def test_status_shows_a_table_and_succeeds(daemon, ctl):
    daemon.answers["status"] = STATUS
    done = ctl("status", "a*", "b")
    assert done.returncode == 0
    assert re.search(r"^a/0 +ready +4 +1\.0s +3$", done.out, re.M)
    assert "\033" not in done.out
    assert daemon.asked == ("status", {"services": ["a*", "b"]})


def test_status_says_by_its_exit_status_that_not_all_runs(daemon, ctl):
    daemon.answers["status"] = FAILED
    assert ctl("status").returncode == 3
    assert ctl("--json", "status").returncode == 3


@pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"]])
def test_json_before_and_after_the_command(daemon, ctl, arguments):
    daemon.answers["status"] = STATUS
    assert json.loads(ctl(*arguments).out) == STATUS


@pytest.mark.parametrize("before", [True, False])
def test_socket_before_and_after_the_command(daemon, ctl, before, tmp_path):
    daemon.answers["status"] = STATUS
    option = ["--socket", str(daemon.path)]
    arguments = [*option, "status"] if before else ["status", *option]
    assert ctl(*arguments, ZOCALO_SOCKET="/nowhere").returncode == 0


def test_socket_is_found_in_the_runtime_directory_and_then_in_the_temporary_one(tmp_path, environment):
    del environment["ZOCALO_SOCKET"]
    temporary = tmp_path / f"zocalo-{os.getuid()}"
    runtime = tmp_path / "run" / "zocalo"
    environment["XDG_RUNTIME_DIR"] = str(runtime.parent)
    for directory in (temporary, runtime):
        directory.mkdir(parents=True)
        fake = Fake(directory)
        fake.answers["status"] = STATUS
        try:
            done = subprocess.run([COMMAND, "status"], env=environment, capture_output=True, timeout=DEADLINE)
        finally:
            fake.stop()
        assert done.returncode == 0
        assert len(fake.requests) == 1


def test_watch_as_json_lines_until_ctrl_c(daemon, running):
    daemon.answers |= {"status": STATUS, "version": {}}
    process = running("--json", "status", "--watch")
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert [json.loads(line) for line in lines] == [STATUS, STATUS]
    assert (process.returncode, err) == (130, b"")


def test_watch_outlives_the_daemon_and_finds_the_next_one(running, tmp_path):
    process = None
    for _ in range(2):
        fake = Fake(tmp_path)
        fake.answers = {"status": STATUS, "version": {}}
        process = process or running("status", "--watch", "--json")
        while "error" in (shown := json.loads(process.stdout.readline())):
            pass
        assert shown == STATUS
        fake.path.unlink()
        fake.stop()
    assert json.loads(process.stdout.readline())["error"]["code"] == "not-running"


def test_watch_without_a_daemon_ends(ctl):
    assert ctl("status", "--watch").returncode == 7


def test_watch_uses_the_alternate_screen_of_a_terminal_and_gives_it_back(daemon, running):
    daemon.answers |= {"status": FAILED, "version": {}}
    ours, theirs = pty.openpty()
    process = running("status", "-w", stdout=theirs)
    os.close(theirs)
    shown = b""

    def read():
        assert select.select([ours], [], [], DEADLINE)[0]
        with contextlib.suppress(OSError):  # the other side is closed
            return os.read(ours, 65536)
        return b""

    while b"a/0" not in shown:
        shown += read()
    process.send_signal(signal.SIGINT)
    while data := read():
        shown += data
    os.close(ours)
    assert process.wait(DEADLINE) == 130
    assert shown.startswith(b"\033[?1049h")
    assert b"\033[31mfailed\033[0m" in shown
    assert shown.endswith(b"\033[?1049l")


# -- what goes wrong


def test_no_daemon_says_which_socket_and_how_to_start_one(ctl, tmp_path):
    done = ctl("status")
    assert done.returncode == 7
    assert str(tmp_path / "zocalod.sock") in complaint(done)
    assert "systemctl start zocalod" in complaint(done)


def test_a_socket_that_nobody_listens_on(ctl, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "zocalod.sock"))
        done = ctl("status")
    assert done.returncode == 7
    assert "nobody listens" in complaint(done)


@pytest.mark.parametrize("path", ["/" + "x" * 200, "/dev/null", "/tmp"])
def test_a_path_that_is_no_socket(ctl, path):
    done = ctl("--socket", path, "status")
    assert done.returncode == 7
    assert path in complaint(done)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody whom the socket is closed to")
def test_a_socket_that_is_closed_to_us_says_who_may(daemon, tmp_path, environment):
    daemon.path.chmod(0o660)
    let_in(tmp_path)
    # What is imported late must be there before the interpreter's own directory is closed, too.
    code = (
        "import argparse, gettext, grp, locale, os, pwd, sys, zocalo_daemon.client.status\n"
        "from zocalo_daemon.client.main import main\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main(['status']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=DEADLINE
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 4
    assert b"group root" in done.stderr


def test_a_role_that_is_too_low(daemon, ctl):
    daemon.role = "view"
    done = ctl("stop", "a")
    assert done.returncode == 4
    assert "needs the role operate" in complaint(done)


def test_no_such_service(daemon, ctl):
    daemon.answers["start"] = NoSuchService("no such service: b; did you mean a?")
    done = ctl("start", "b")
    assert done.returncode == 5
    assert "did you mean a?" in complaint(done)


def test_a_bad_configuration_has_a_line_for_each_problem(daemon, ctl):
    problems = ["x.yaml:3: services.a: unknown key b", "x.yaml:9: no"]
    daemon.answers["reload"] = ConfigError("\n".join(problems), {"problems": problems})
    done = ctl("reload")
    assert done.returncode == 1
    assert done.err.splitlines() == [f"zocaloctl: {problem}" for problem in problems]


def test_messages_of_the_daemon_cannot_command_the_terminal(daemon, ctl):
    daemon.answers["start"] = NoSuchService("no \033[2J")
    assert "\033" not in complaint(ctl("start", "b"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["stauts"],
        ["--jsn", "status"],
        ["status", "--nope"],
        ["start"],
        ["stop", "a", "--timeout", "soon"],
        ["stop", "a", "--timeout", "-1"],
        ["scale", "a"],
        ["scale", "a=x"],
        ["scale", "a=-1"],
        ["scale", "=1"],
        ["logs", "-n", "-5"],
        ["send", "q"],
        ["send", "q", "{"],
        ["send", "q", "NaN"],
        ["send", "q", "text"],
        ["send", "q", "1", "--header", "x"],
        ["send", "q", b"\xff"],
        ["dlq"],
        ["dlq", "purge"],
        ["dlq", "purge", "--id", "3"],
        ["go", "1"],
        ["go", "-r", "x"],
        ["go", "-r", "x", "0"],
        ["go", "-r", "x", "one"],
        ["go", "-r", "x", "-n", "5"],
        ["go", "-r", "x", "-s", "novalue", "5"],
        ["go", "-r", "x", "--drop", "5"],
    ],
)
def test_wrong_usage(daemon, ctl, arguments):
    done = ctl(*arguments)
    assert done.returncode == 2
    assert complaint(done)
    assert {one.op for one in daemon.requests} <= {"version"}  # which knows where files go


def test_help(ctl):
    overview = ctl("--help")
    assert overview.returncode == 0
    assert "dlq reinject" in overview.out
    assert ctl("dlq", "purge", "--help").returncode == 0
    assert ctl().returncode == 2


def test_a_closed_standard_output_is_no_error(daemon, running):
    daemon.answers["logs"] = lambda request: [request.chunk({"text": "x" * 1000}) for _ in range(3000)]
    process = running("logs", "-f")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(DEADLINE) == 141
    assert process.stderr.read() == b""


def test_a_full_disk_is_told(daemon, running):
    daemon.answers["status"] = STATUS
    with Path("/dev/full").open("w") as full:
        process = running("status", stdout=full)
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert b"No space left" in err
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


def test_a_terminal_without_unicode(daemon, ctl):
    daemon.answers["status"] = {**STATUS, "services": [{"name": "ü", "wanted": 1, "instances": []}]}
    done = ctl("status", PYTHONIOENCODING="ascii")
    assert done.returncode == 3
    assert "\\xfc" in done.out


def test_a_daemon_that_goes_away_before_it_answers(daemon, running):
    daemon.answers["stop"] = lambda request: None
    process = running("stop", "a")
    wait_until(lambda: daemon.requests)
    daemon.do(daemon.server.close)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 7
    assert b"went away" in err


@pytest.mark.parametrize(
    "said", [b"garbage, and long enough for a length", struct.pack(">I", MAX_FRAME + 1), b""]
)
def test_something_else_than_a_daemon_on_the_socket(ctl, tmp_path, said):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "zocalod.sock"))
        listener.listen()
        if os.fork() == 0:
            peer, _ = listener.accept()
            peer.sendall(said)
            peer.close()
            os._exit(0)
        done = ctl("status")
        os.wait()
    assert done.returncode in (1, 7)
    assert complaint(done)


def test_an_answer_of_another_shape_is_no_traceback(daemon, ctl):
    daemon.answers["dlq.purge"] = 5
    done = ctl("dlq", "purge", "q")
    assert done.returncode == 1
    assert "cannot be shown" in complaint(done)


# -- changes


def results(*states, ok=True):
    return {"results": [{"id": f"a/{i}", "state": s, "ok": ok, "message": ""} for i, s in enumerate(states)]}


@pytest.mark.parametrize("op", ["start", "stop", "restart"])
def test_change_and_wait(daemon, ctl, op):
    daemon.answers[op] = results("ready", "ready")
    done = ctl(op, "a", "b/0")
    assert (done.returncode, done.out) == (0, "a/0 ready\na/1 ready\n")
    assert daemon.asked == (op, {"targets": ["a", "b/0"], "wait": True, "timeout": None})


def test_change_without_waiting_and_with_a_timeout(daemon, ctl):
    daemon.answers["stop"] = results("draining")
    ctl("stop", "all", "--no-wait", "--timeout", "2.5")
    assert daemon.asked == ("stop", {"targets": ["all"], "wait": False, "timeout": 2.5})


def test_a_change_that_fails_for_one_says_why(daemon, ctl):
    bad = {"id": "a/9", "state": "failed", "ok": False, "message": "initializing() raised KeyError"}
    daemon.answers["restart"] = {"results": [*results(*["ready"] * 30)["results"], bad]}
    done = ctl("restart", "a")
    assert done.returncode == 1
    assert done.out == "a/9 failed: initializing() raised KeyError\n30 instances ready\n"


def test_scale(daemon, ctl):
    daemon.answers["scale"] = results("ready")
    assert ctl("scale", "a=3", "b=0").returncode == 0
    assert daemon.asked[1]["sizes"] == {"a": 3, "b": 0}


def test_reload_prints_what_changed(daemon, ctl):
    daemon.answers["reload"] = {"changes": ["services.a: instances 1 to 2"], **results("ready")}
    assert ctl("reload").out == "services.a: instances 1 to 2\na/0 ready\n"
    daemon.answers["reload"] = {"changes": [], "results": []}
    assert ctl("reload").out == "nothing has changed\n"
    assert json.loads(ctl("reload", "--json").out) == {"changes": [], "results": []}


def test_ctrl_c_while_waiting_is_quiet_and_tells_the_daemon(daemon, running):
    gone = []

    def wait(request):
        request.closed = lambda: gone.append(request.op)

    daemon.answers["stop"] = wait
    process = running("stop", "a")
    wait_until(lambda: daemon.requests)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=DEADLINE) == (b"", b"")
    assert process.returncode == 130
    wait_until(lambda: gone == ["stop"])


# -- logs and events


def chunks(*items):
    def answer(request):
        for item in items:
            request.chunk(item)
        request.ok()

    return answer


LINE = {"time": 1.5, "id": "a/0", "level": 30, "text": "first\nsecond \033[31m"}


def test_logs(daemon, ctl):
    daemon.answers["logs"] = chunks(LINE, {**LINE, "level": 20, "text": "x"})
    assert ctl("logs", "a", "-n", "5").out.splitlines() == [
        "1970-01-01 00:00:01.500 a/0 WARNING first",
        "    second \\x1b[31m",
        "1970-01-01 00:00:01.500 a/0 INFO x",
    ]
    assert daemon.asked == ("logs", {"targets": ["a"], "lines": 5, "follow": False})


def test_logs_as_json_is_one_document_and_lines_when_following(daemon, ctl):
    daemon.answers["logs"] = chunks(LINE, LINE)
    assert json.loads(ctl("logs", "--json").out) == [LINE, LINE]
    assert [json.loads(line) for line in ctl("logs", "-f", "--json").out.splitlines()] == [LINE, LINE]


def test_events(daemon, ctl):
    daemon.answers["events"] = chunks({"time": 0.0, "event": "exited", "id": "a/0", "text": "signal SIGSEGV"})
    assert ctl("events").out.endswith(" a/0 exited signal SIGSEGV\n")


def test_following_shows_each_item_at_once(daemon, running):
    daemon.answers["events"] = lambda request: request.chunk({"event": "ready", "id": "a/0", "text": ""})
    process = running("events", "-f")
    assert process.stdout.readline().endswith(b"a/0 ready\n")
    daemon.do(lambda: daemon.requests[0].chunk({"event": "stopped", "id": "a/0", "text": ""}))
    assert process.stdout.readline().endswith(b"a/0 stopped\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 130


def test_what_a_follower_missed_is_told(daemon, running):
    def flood(request):
        sent = 0
        while request.chunk({"text": "x" * 1000}):
            sent += 1
        request.chunk({"text": "lost"})
        request.ok()

    daemon.answers["logs"] = flood
    out, _ = running("logs", "-f", "--json").communicate(timeout=DEADLINE)
    assert json.loads(out.splitlines()[-1]) == {"missed": 2}


# -- messages


def test_send_hands_over_the_text_as_it_is(daemon, ctl):
    daemon.answers["send"] = None
    done = ctl("send", "q", '{"a": 1.10}', "--header", "k=v=w", "--delay", "2", "--transport", "t")
    assert (done.returncode, done.out) == (0, "sent to queue q\n")
    assert daemon.asked == (
        "send",
        {
            "queue": "q",
            "body": b'{"a": 1.10}',
            "headers": {"k": "v=w"},
            "delay": 2.0,
            "expiration": None,
            "transport": "t",
        },
    )


def test_broadcast_from_standard_input(daemon, ctl):
    daemon.answers["broadcast"] = {"spooled": True}
    done = ctl("broadcast", "topic", "-", stdin='["ü"]\n'.encode())
    assert "spooled" in done.out
    assert daemon.asked[1]["topic"] == "topic"
    assert daemon.asked[1]["body"] == '["ü"]'.encode()


def test_a_message_that_is_spooled_says_since_when_the_broker_is_away(daemon, ctl):
    daemon.answers["send"] = {"spooled": True, "transport": "rabbit", "host": "mq:5672", "away_since": 1e9}
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1e9))
    done = ctl("send", "q", "1")
    assert (done.returncode, done.out) == (0, f"spooled for queue q: broker mq:5672 away since {since}\n")
    daemon.answers["send"] = {"spooled": True, "transport": "rabbit", "host": "", "away_since": None}
    go = ctl("go", "-r", "example", "1").out
    assert go == "spooled for queue processing_recipe: others wait for broker rabbit too\n"
    assert ctl("send", "q", "1").out == "spooled for queue q: others wait for broker rabbit too\n"


def test_json_that_is_none_says_where(daemon, ctl):
    assert "standard input is not JSON: " in complaint(ctl("send", "q", "-", stdin=b'{"a": 1,\n "b": }'))
    assert "line 2, column 7" in complaint(ctl("send", "q", "-", stdin=b'{"a": 1,\n "b": }'))
    assert "not UTF-8, at byte 3" in complaint(ctl("send", "q", "-", stdin=b'["\xff"]'))


@pytest.mark.parametrize("size", [MAX_FRAME - 100, MAX_FRAME, 3 * MAX_FRAME])
def test_a_message_that_is_too_large_is_not_sent(daemon, ctl, size):
    done = ctl("send", "q", "-", stdin=b'"' + b"x" * size + b'"')
    assert done.returncode == 2
    assert "the control socket takes" in complaint(done)
    assert daemon.requests == []


def test_the_largest_message_is_sent(daemon, ctl):
    daemon.answers["send"] = None
    body = b'"' + b"x" * (MAX_FRAME - 64 * 1024 - 2) + b'"'
    assert ctl("send", "q", "-", stdin=body).returncode == 0
    assert daemon.asked[1]["body"] == body


def test_a_broker_that_is_away(daemon, ctl):
    daemon.answers["send"] = Unavailable("the relay restarts; try again")
    done = ctl("send", "q", "1")
    assert done.returncode == 1
    assert "try again" in complaint(done)


# -- go


def test_go_composes_the_message_of_zocalo_go(daemon, ctl):
    daemon.answers["send"] = None
    done = ctl("go", "-r", "one", "-r", "two", "-s", "k=v", "-a", "7", "527189", LOGNAME="me")
    assert done.returncode == 0
    op, args = daemon.asked
    assert (op, args["queue"]) == ("send", "processing_recipe")
    assert args["headers"] == {"zocalo.go.user": "me", "zocalo.go.host": os.uname().nodename}
    assert json.loads(args["body"]) == {
        "recipes": ["one", "two"],
        "parameters": {"k": "v", "ispyb_dcid": 527189, "ispyb_autoprocscalingid": 7},
    }


def test_go_for_a_reprocessing_request_needs_no_recipe(daemon, ctl):
    daemon.answers["send"] = None
    assert ctl("go", "-p", "12").returncode == 0
    assert json.loads(daemon.asked[1]["body"]) == {"recipes": [], "parameters": {"ispyb_process": 12}}


def test_go_without_an_id(daemon, ctl):
    daemon.answers["send"] = None
    assert ctl("go", "-n", "-r", "one").returncode == 0
    assert json.loads(daemon.asked[1]["body"]) == {"recipes": ["one"], "parameters": {}}


def test_go_dry_run_sends_nothing(daemon, ctl):
    done = ctl("go", "-v", "--dry-run", "--json", "-r", "one", "5")
    assert done.returncode == 0
    assert json.loads(done.err)["recipes"] == ["one"]
    assert json.loads(done.out)["message"]["parameters"] == {"ispyb_dcid": 5}
    assert daemon.requests == []


@pytest.mark.parametrize("drop", [["--drop"], []])
def test_go_drops_a_file_when_told_to_or_without_a_daemon(ctl, tmp_path, drop):
    place = tmp_path / "drop"
    place.mkdir()
    done = ctl("go", "-r", "one", "5", *drop, ZOCALO_GO_FALLBACK_LOCATION=str(place))
    assert done.returncode == 0
    (file,) = place.iterdir()
    content = json.loads(file.read_text())
    assert content["message"] == {"recipes": ["one"], "parameters": {"ispyb_dcid": 5}}
    assert set(content["headers"]) == {"zocalo.go.user", "zocalo.go.host"}


# -- queues and dead letters


def test_queues(daemon, ctl):
    figures = {"ready": 3, "delayed": 0, "unsettled": 1, "consumers": 2, "transport": "t"}
    daemon.answers["queues"] = [
        {"name": "q", **figures, "dead_letters": False},
        {"name": "dlq.q", **figures, "dead_letters": True},
    ]
    lines = ctl("queues", "*q").out.splitlines()
    assert lines[1].split() == ["q", "3", "0", "1", "2", "t"]
    assert lines[2].endswith("dead letters")
    assert daemon.asked == ("queues", {"patterns": ["*q"]})
    ctl("queues", "--transport", "t")
    assert daemon.asked == ("queues", {"patterns": [], "transport": "t"})


LETTER = {
    "id": 5,
    "queue": "dlq.q",
    "origin": "q",
    "reason": "crashed 3 workers",
    "time": 1.0,
    "headers": {"x": 1},
    "body": b'{"a":\n \xff}',
}


def test_dlq_list(daemon, ctl):
    daemon.answers["dlq.list"] = [LETTER]
    line = ctl("dlq", "list", "q", "-n", "9").out.splitlines()[1]
    assert "5  dlq.q  q     1970-01-01 00:00:01   9 B" in line and line.endswith("crashed 3 workers")
    assert daemon.asked == ("dlq.list", {"queues": ["q"], "limit": 9})
    ctl("dlq", "list", "--transport", "t")
    assert daemon.asked == ("dlq.list", {"queues": [], "limit": 100, "transport": "t"})


def test_bodies_in_json_are_text_or_base64(daemon, ctl):
    daemon.answers["dlq.list"] = [LETTER, {**LETTER, "body": b"text"}]
    first, second = json.loads(ctl("dlq", "list", "--json").out)
    assert first["body"] == {"base64": "eyJhIjoKIP99"}
    assert second["body"] == "text"


def test_dlq_purge_says_what_it_did(daemon, ctl):
    daemon.answers |= {"dlq.purge": {"count": 1}, "version": {"locations": {}}}
    assert ctl("dlq", "purge", "q", "--id", "5").out == "1 dead letter deleted\n"
    assert daemon.asked == ("dlq.purge", {"queues": ["q"], "ids": [5]})
    assert ctl("dlq", "purge", "--yes").returncode == 0
    assert daemon.asked == ("dlq.purge", {"queues": [], "ids": None})


def test_dlq_reinject(daemon, ctl):
    daemon.answers["dlq.reinject"] = {"count": 2}
    assert ctl("dlq", "reinject", "q").out == "2 dead letters sent back to where they came from\n"
    assert ctl("dlq", "reinject", "q", "-d", "other").out == "2 dead letters sent to other\n"
    assert daemon.asked == ("dlq.reinject", {"queues": ["q"], "ids": None, "destination": "other"})


@pytest.mark.parametrize(
    ("command", "done"), [("purge", "deleted"), ("reinject", "sent back to where they came from")]
)
def test_a_dead_letter_that_is_not_there_is_an_error(daemon, ctl, command, done):
    daemon.answers |= {f"dlq.{command}": {"count": 1}, "version": {}}
    result = ctl("dlq", command, "q", "--id", "5", "--id", "6", "--id", "6")
    assert daemon.asked[1]["ids"] == [5, 6, 6]
    assert result.returncode == 1
    assert result.out == f"1 dead letter {done}\n"
    assert result.err == "zocaloctl: 1 of 2 ids not found there; zocaloctl dlq list shows all\n"


# -- version, speed


def test_version(daemon, ctl):
    daemon.answers["version"] = {"version": "9.9", "pid": 3, "python": "3.11.7", "protocol": [1, 1]}
    out = ctl("version").out
    assert "zocaloctl 0." in out
    assert "zocalod 9.9, pid 3, Python 3.11.7, protocol 1" in out
    assert json.loads(ctl("version", "--json").out)["daemon"]["pid"] == 3


def test_version_without_a_daemon_still_tells_that_of_the_client(ctl):
    done = ctl("version")
    assert done.returncode == 7
    assert done.out.startswith("zocaloctl 0.")


def test_a_plain_status_is_what_argparse_would_make_of_it():
    parser = argparse.ArgumentParser()
    client_status.status_options(parser)
    assert client_status.status_plain == vars(parser.parse_args([]))


def test_status_loads_nothing_that_it_does_not_need(daemon, ctl):
    daemon.answers["status"] = STATUS
    code = (
        "import sys; before = set(sys.modules); from zocalo_daemon.client.main import main; main(['status']);"
        "print(*(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ZOCALO_SOCKET": str(daemon.path)},
        capture_output=True,
        timeout=DEADLINE,
    )
    loaded = set(done.stderr.decode().split())
    heavy = {
        "argparse",
        "contextlib",
        "re",
        "json",
        "typing",
        "inspect",
        "dataclasses",
        "pathlib",
        "socket",
        "asyncio",
        "subprocess",
        "shutil",
    }
    assert loaded & heavy == set()
    assert "zocalo_daemon.client.status" in loaded
