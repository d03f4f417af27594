"""zocaloctl doctor against what is really broken: each situation is made, and the finding looked for."""

import errno
import fcntl
import json
import os
import pty
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import yaml

import zocalo_daemon
from tests import daemonkit
from tests.daemonkit import COMMANDS
from tests.waiting import wait_until
from zocalo_daemon.doctor import brokers, configuration, limits, machine, main, state
from zocalo_daemon.doctor.findings import Level, ok
from zocalo_daemon.doctor.situation import Situation

TRIAL = {"quiet": {"class": "trial:Rejecter"}}


def doctor(d):
    """Return the exit status and the findings."""
    done = d.ctl("--json", "doctor", "--config", str(d.config_file), check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["findings"]


def find(findings, what, *texts, level="problem"):
    """Return the finding of a kind whose where and text have all these words."""
    for found in findings:
        line = f"{found['where']}: {found['text']}"
        if found["what"] == what and found["level"] == level and all(text in line for text in texts):
            return found
    raise AssertionError(f"no {level} of {what} with {texts} in:\n" + "\n".join(map(str, findings)))


def of(check, config_file=None, socket="/nowhere/zocalod.sock", **environ):
    """Return what one check finds by itself, in the same form, and the situation that it leaves."""
    situation = Situation(config_file, Path(socket), False, environ)
    return [found for found in plain(check(situation))], situation


def plain(findings):
    return [
        {"level": str(f.level), "what": f.what, "where": f.where, "text": f.text, "do": f.do}
        for f in findings
    ]


def configured(tmp_path, **more):
    """Write a configuration, and return its file."""
    file = tmp_path / "zocalod.yaml"
    keys = {"state_dir": str(tmp_path / "state"), "control": {"socket": str(tmp_path / "zocalod.sock")}}
    file.write_text(yaml.safe_dump({"version": 1, **keys, "services": {}, **more}))
    return file


def kept(directory):
    """Return what must not change of the files below a directory: all but the time of reading."""
    found = {path: path.lstat() for path in directory.rglob("*")}
    return {path: (s.st_mode, s.st_uid, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in found.items()}


# -- The daemon


def test_a_daemon_that_is_well(daemon):
    d = daemon(TRIAL).start()
    status, findings = doctor(d)
    assert [found for found in findings if found["level"] == "problem"] == []
    assert status == 0
    find(findings, "daemon", f"pid {d.process.pid}", "answers", level="ok")
    find(findings, "permission", "has the role admin", level="ok")
    find(findings, "service", "quiet: 1 ready", level="ok")
    find(findings, "transport", "connected", level="ok")
    find(findings, "state directory", str(d.state_dir), level="ok")
    find(findings, "socket", str(d.socket), level="ok")
    find(findings, "runtime", "default", level="ok")
    find(findings, "limits", f"pid {d.process.pid}", level="ok")
    made = d.status()["daemon"]["control_groups"]
    if made["path"]:
        find(findings, "control groups", made["path"], f"version {made['version']}", level="ok")
    else:
        find(findings, "control groups", made["reason"], "Delegate=yes", level="warning")


def test_without_a_daemon_and_nothing_changes_on_disk(daemon):
    d = daemon(TRIAL).start()
    d.ctl("send", "q", "1")
    d.stop()
    before = kept(d.directory)
    status, findings = doctor(d)
    assert status == 1
    assert "zocalod" in find(findings, "daemon", "does not run")["do"]
    find(findings, "database", "is whole", level="ok")
    assert kept(d.directory) == before


def test_services_processes_and_dead_letters_that_need_somebody(daemon):
    services = {
        "good": {"class": "trial:Rejecter"},
        "missing": {"class": "trial:Nothing"},
        "idle": {"class": "trial:Rejecter"},
        "rejecter": {"class": "trial:Rejecter"},
    }
    d = daemon(services).start(ready=False)
    d.wait_state("missing/0", "failed")
    for name in ("good/0", "idle/0", "rejecter/0"):
        d.wait_state(name, "ready")
    d.ctl("stop", "idle")
    d.ctl("send", "reject", "1")
    wait_until(lambda: "dlq.reject" in d.ctl("dlq", "list").stdout)
    pid = d.instance("good/0")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        status, findings = doctor(d)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert status == 1
    assert (
        "zocaloctl start missing/0" in find(findings, "service", "missing/0", "has failed", "Nothing")["do"]
    )
    assert (
        find(findings, "service", "idle/0", "is stopped", level="warning")["do"] == "zocaloctl start idle/0"
    )
    assert find(findings, "process", "good/0", "stopped by a signal")["do"] == f"kill -CONT {pid}"
    find(findings, "dead letters", "dlq.reject: 1 dead letter waiting", level="warning")
    find(findings, "service", "missing", "Nothing")  # and so says the probe of its runtime


def test_a_daemon_that_is_stopped_by_a_signal(daemon):
    d = daemon(TRIAL).start()
    d.process.send_signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        _, findings = doctor(d)
        assert time.monotonic() - begin < 15
    finally:
        d.process.send_signal(signal.SIGCONT)
    find(findings, "daemon", "does not answer")
    stopped = find(findings, "state directory", f"pid {d.process.pid}", "stopped by a signal")
    assert stopped["do"] == f"kill -CONT {d.process.pid}"


def test_another_socket_than_that_of_the_daemon(daemon):
    d = daemon(TRIAL).start()
    here = d.socket
    d.socket = d.directory / "other.sock"
    _, findings = doctor(d)
    find(findings, "daemon", "does not run, or has another socket")
    assert find(findings, "socket", str(d.socket), str(here))["do"] == f"export ZOCALO_SOCKET={here}"
    find(findings, "state directory", f"pid {d.process.pid}", "holds it", "does not answer")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user():
    # Not below pytest's directory, which every session closes to others.
    with tempfile.TemporaryDirectory() as directory:
        d = daemonkit.Daemon(Path(directory), TRIAL)
        try:
            d.start()
            Path(directory).chmod(0o755)
            of_another_user(d)
        finally:
            d.close()


def of_another_user(d):
    code = (
        "import encodings.utf_8_sig, gettext, grp, locale, os, pwd, shutil, sys\n"
        "import zocalo_daemon.main, zocalo_daemon.doctor.main as m\n"
        "[__import__(f'zocalo_daemon.doctor.{c.module}') for c in m.CHECKS]\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "m.CHECKS = m.CHECKS[:5]; sys.exit(m.main())"
    )
    arguments = ["--socket", d.socket, "--json", "--config", d.config_file]
    for mode, words in ((0o600, "may not ask"), (0o666, "may not ask")):
        d.socket.chmod(mode)
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, timeout=20)
        assert done.stderr == b""
        findings = json.loads(done.stdout)["findings"]
        assert "control.roles" in find(findings, "permission", words)["do"]
    assert "sudo -u" in find(findings, "doctor", "look broken", level="warning")["do"]


# -- Configuration and environment


def test_every_problem_of_the_configuration_with_file_and_line(tmp_path):
    file = configured(tmp_path)
    file.write_text("version: 1\nservces: {}\nstate_dir: 7\n")
    findings, situation = of(configuration.check, file)
    assert find(findings, "configuration", f"{file}:2: ", "services")["do"].endswith("zocalod --check")
    find(findings, "configuration", f"{file}:3: ", "state_dir")
    assert situation.config is None


def test_a_site_configuration_that_cannot_be_used(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("version: 1\nenvironments: {live: [storage]}\n")
    findings, _ = of(configuration.check, configured(tmp_path, site=str(site), site_environment="live"))
    find(findings, "site", f"{site}:2: ", "storage")


@pytest.mark.parametrize(
    ("mode", "level", "what"), [(0o644, "problem", "configuration"), (0o640, "warning", "password")]
)
def test_a_password_that_others_can_read(tmp_path, mode, level, what):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(mode)
    rabbit = {"driver": "rabbitmq", "hosts": ["127.0.0.1:1"], "password_file": str(secret)}
    findings, _ = of(configuration.check, configured(tmp_path, transports={"rabbit": rabbit}))
    find(findings, what, "others can read the password" if mode == 0o644 else "lets others read", level=level)


def test_a_configuration_that_anybody_can_change(tmp_path):
    file = configured(tmp_path)
    file.chmod(0o666)
    assert (
        find(of(configuration.check, file)[0], "configuration", "anybody may change")["do"]
        == f"chmod o-w {file}"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_configuration_that_the_daemon_may_not_read(tmp_path):
    """Root can, and so only the mode tells."""
    file = configured(tmp_path)
    file.chmod(0o600)
    (tmp_path / "state").mkdir(0o700)
    os.chown(tmp_path / "state", 65534, 65534)
    findings, situation = of(configuration.check, file)
    assert situation.user.uid == 65534
    assert any("may not" in found["text"] for found in findings if found["level"] == "problem")


def test_variables_that_mislead(tmp_path):
    nothing = str(tmp_path / "nothing")
    environ = {
        "ZOCALO_SOCKET": nothing,
        "ZOCALO_CONFIG": nothing,
        "TMPDIR": nothing,
        "XDG_STATE_HOME": "here",
    }
    findings, _ = of(configuration.check, configured(tmp_path), PYTHONHOME="/usr", **environ)
    assert find(findings, "environment", "ZOCALO_SOCKET", nothing)["do"] == "unset ZOCALO_SOCKET"
    find(findings, "environment", "ZOCALO_CONFIG", "cannot be read")
    for name in ("TMPDIR", "XDG_STATE_HOME", "PYTHONHOME"):
        find(findings, "environment", name, level="warning")


# -- State directory and sockets


@pytest.fixture
def idle(daemon):
    """A daemon that is not started, whose state directory is there."""
    d = daemon(TRIAL)
    d.state_dir.mkdir(mode=0o700)
    return d


@pytest.mark.parametrize(("mode", "level"), [(0o777, "problem"), (0o755, "warning")])
def test_a_state_directory_that_is_open_to_others(idle, mode, level):
    idle.state_dir.chmod(mode)
    _, findings = doctor(idle)
    found = find(findings, "state directory", f"mode {mode:o} lets others", level=level)
    assert found["do"] == f"chmod 700 {idle.state_dir}"


def test_a_state_directory_that_is_a_file(idle):
    idle.state_dir.rmdir()
    idle.state_dir.write_text("")
    find(doctor(idle)[1], "state directory", "is no directory")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give directories away")
def test_a_state_directory_that_the_daemon_may_not_reach(idle):
    os.chown(idle.state_dir, 65534, 65534)
    idle.directory.chmod(0o700)
    find(doctor(idle)[1], "state directory", "may not enter")


def test_a_lock_that_is_held_and_nobody_answers(idle):
    code = (
        "import fcntl, sys, time\nf = open(sys.argv[1], 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\nsys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, idle.state_dir / "zocalod.lock"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        _, findings = doctor(idle)
        holder.stdin.close()
    assert f"kill {holder.pid}" in find(findings, "state directory", f"pid {holder.pid}", "holds it")["do"]


def test_a_lock_that_outlives_its_daemon(idle):
    code = (
        "import fcntl, os, sys\nf = open(sys.argv[1], 'w')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
        "if os.fork(): os._exit(0)\nprint('locked', flush=True)\nsys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, idle.state_dir / "zocalod.lock"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        daemon.stdout.readline()
        daemon.wait()
        if state.lock_holder(idle.state_dir / "zocalod.lock") is None:
            pytest.skip(
                "within a pid namespace, the kernel does not list the lock of a process that has ended"
            )
        _, findings = doctor(idle)
    found = find(findings, "state directory", f"pid {daemon.pid}", "still holds it")
    assert found["do"].startswith("fuser -v ")


def test_asking_for_the_lock_does_not_take_it(idle):
    file = idle.state_dir / "zocalod.lock"
    file.write_text("")
    assert state.lock_holder(file) is None
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert state.lock_holder(file) == os.getpid()


def test_files_from_the_future(idle):
    file = idle.state_dir / "letter"
    file.write_text("")
    os.utime(file, (time.time() + 86_400,) * 2)
    find(doctor(idle)[1], "clock", str(file), "in the future", level="warning")


@pytest.mark.parametrize(
    ("free", "inodes", "level", "text"),
    [
        (10, 10**6, "problem", "10 MiB are left"),
        (500, 10**6, "warning", "500 MiB"),
        (10**6, 3, "problem", "3 inodes"),
    ],
)
def test_a_file_system_that_is_full(free, inodes, level, text):
    mib = 2**20
    about = os.statvfs_result((mib, mib, 10**6, free, free, 10**7, inodes, inodes, 0, 255))
    find(plain(state.room(Path("/state"), about)), "state directory", text, level=level)


def test_a_foreign_file_in_the_place_of_the_socket(idle):
    idle.socket.write_text("mine")
    assert find(doctor(idle)[1], "socket", "is no socket")["do"] == f"mv {idle.socket} {idle.socket}.old"


def test_stale_sockets(idle):
    for path in (idle.socket, idle.socket.with_name("relay.sock")):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
    _, findings = doctor(idle)
    find(findings, "socket", str(idle.socket), "is stale", level="warning")
    find(findings, "socket", "relay.sock", "is stale", level="warning")


def test_sockets_that_others_could_replace(idle):
    idle.directory.chmod(0o777)
    find(doctor(idle)[1], "socket", str(idle.directory), "others could replace")


# -- Runtimes


def test_runtimes_and_classes_that_cannot_be_loaded(daemon, bare, tmp_path):
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    runtimes = {"bare": {"interpreter": str(bare)}, "broken": {"interpreter": str(old)}}
    services = {
        "a": {"class": "Dispatcher", "runtime": "bare"},
        "b": {"class": "Dispatcher", "runtime": "broken"},
        "c": {"class": "Dispacher"},
    }
    _, findings = doctor(daemon(services, runtimes=runtimes))
    assert find(findings, "runtime", "bare", "msgpack")["do"] == f"{bare} -m pip install msgpack"
    find(findings, "runtime", "broken", "ended without a word")
    find(findings, "service", "c: ", "Dispacher")


def test_a_runtime_without_setproctitle(daemon, foreign):
    d = daemon({"a": {"class": "trial:Rejecter", "runtime": "site"}})
    services = str(Path(__file__).parents[1] / "services")
    d.configure(TRIAL | {"a": {"class": "trial:Rejecter", "runtime": "site"}},
                runtimes={"site": {"interpreter": str(foreign), "python_path": [services]}})  # fmt: skip
    found = find(doctor(d)[1], "runtime", "site", "lacks setproctitle", level="warning")
    assert found["do"] == f"{foreign} -m pip install setproctitle"


# -- Limits


def test_limits_that_are_too_low_for_the_configuration(tmp_path):
    file = configured(tmp_path, services={"many": {"class": "Dispatcher", "instances": 5000}})
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))\n"
        "from zocalo_daemon.doctor import main; main.CHECKS = main.CHECKS[2:3] + main.CHECKS[6:7]\n"
        "sys.exit(main.main())"
    )
    arguments = [sys.executable, "-c", code, "--socket", tmp_path / "no", "--json", "--config", file]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
    findings = json.loads(done.stdout)["findings"]
    found = find(findings, "limits", "descriptors of the supervisor", "1024", level="warning")
    assert "LimitNOFILE=" in found["do"]


def test_the_limits_of_a_daemon_that_runs():
    text = Path("/proc/self/limits").read_text()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert limits.hard_limit(text, "Max open files") == hard
    assert limits.hard_limit(text, "Max processes of dreams") is None


# -- Brokers


def test_hosts_that_cannot_be_reached_all_at_once(free_port, full_port):
    hosts = [("rabbit", f"127.0.0.1:{free_port}"), ("rabbit", "nothing.invalid:5672")]
    hosts += [("active", f"127.0.0.1:{full_port}")] * 2 + [("active", f"[::1]:{free_port}")]
    begin = time.monotonic()
    findings = plain(brokers.reach(hosts, 0.3, 4.0))
    assert time.monotonic() - begin < 5
    find(findings, "broker", hosts[0][1], "connection refused")
    assert find(findings, "broker", "nothing.invalid:5672")["do"] == "getent hosts nothing.invalid"
    find(findings, "broker", f":{full_port}", os.strerror(errno.ETIMEDOUT).lower())
    assert len(findings) == 4


def test_a_host_that_takes_connections():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (found,) = plain(brokers.reach([("rabbit", f"127.0.0.1:{listener.getsockname()[1]}")], 1, 2))
    assert found["level"] == "ok"


@pytest.fixture
def free_port():
    """A port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def full_port():
    """A port whose backlog is full, so that the kernel answers nothing (listen(2))."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for sock in (first, second):
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_database_that_cannot_be_used(daemon):
    d = daemon(TRIAL).start()
    for _ in range(4):
        d.ctl("send", "q", json.dumps("x" * 20_000))
    d.stop()
    file = d.state_dir / "queues/embedded/queues.db"
    data = file.read_bytes()
    for content, text in {
        b"": "is empty",
        b"hello, world, hello": "is no database",
        data[:4096] + b"\xff" * 8192 + data[12288:]: "is damaged",
    }.items():
        file.write_bytes(content)
        find(plain(brokers.database("embedded", file, idle=True)), "database", str(file), text)


def test_tls_files_that_are_missing(tmp_path):
    tls = {"ca": str(tmp_path / "ca.pem")}
    rabbit = {"driver": "rabbitmq", "hosts": ["127.0.0.1:1"], "tls": tls}
    _, situation = of(configuration.check, configured(tmp_path, transports={"rabbit": rabbit}))
    find(plain(brokers.check(situation)), "TLS", "ca.pem", "no such file")


# -- The machine


def test_a_clock_that_is_wrong():
    find(plain(machine.clock(0.0, 0.0, None)), "clock", "1970")
    find(plain(machine.clock(time.time(), 0.0, False)), "clock", "nothing keeps it right", level="warning")
    find(plain(machine.clock(time.time(), 90.0, True)), "clock", "suspended for 90 s", level="warning")
    assert list(machine.clock(time.time(), 1.0, True)) == []
    assert machine.synchronised() in (True, False, None)


def test_a_kernel_that_refuses():
    def refuse():
        raise OSError(errno.ENOSYS, "Function not implemented")

    find(plain(machine.kernel({"pidfd_open": refuse})), "kernel", "pidfd_open", "not implemented")
    assert list(machine.kernel(machine.KERNEL)) == []


# -- The command


def test_a_check_that_hangs_or_fails_does_not_hide_the_others(capsys):
    held = threading.Event()

    def hang():
        yield ok("a", "", "seen")
        held.wait()

    def fail():
        yield ok("b", "", "seen")
        raise RuntimeError("a bug")

    findings = plain([*main.limited(hang, "slow", 0.05), *main.limited(fail, "broken", 5)])
    held.set()
    assert [found["text"] for found in findings if found["level"] == Level.OK] == ["seen", "seen"]
    find(findings, "slow", "could not be checked within 0.05 s")
    find(findings, "broken", "a bug")


def test_colours_only_on_a_terminal_that_wants_them(idle):
    def on_terminal(**env):
        ours, theirs = pty.openpty()
        arguments = [COMMANDS / "zocaloctl", "--socket", idle.socket, "doctor", "--config", idle.config_file]
        known = {"TERM": "xterm", **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}}
        with subprocess.Popen(arguments, stdout=theirs, env=known | env):
            os.close(theirs)
            said = b""
            while True:
                try:
                    data = os.read(ours, 65536)
                except OSError:  # EIO: the other end is closed
                    break
                said += data
        os.close(ours)
        return said

    assert b"\033[31mproblem\033[0m" in on_terminal()
    assert b"\033" not in on_terminal(NO_COLOR="1")
    assert "\033" not in idle.ctl("doctor", "--config", str(idle.config_file), check=False).stdout


def test_a_client_without_the_daemon_says_so(tmp_path):
    package = Path(zocalo_daemon.__file__).parent
    here = tmp_path / "zocalo_daemon"
    for part in ("client", "protocol"):
        shutil.copytree(package / part, here / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "errors.py"):
        shutil.copy(package / name, here)
    code = "import sys; from zocalo_daemon.client.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("zocaloctl: there is no doctor here")
