"""The forkserver: what it says of its services, and whose children its workers are."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.process.standin import DEADLINE, STUB, Supervisor, receive, write_module
from tests.waiting import wait_until
from zocalo_daemon import linux

SERVICES = """
import os, sys, time
from workflows.services.common_service import CommonService

class Quiet(CommonService):
    def initializing(self):
        self.transport.subscribe("nothing", lambda header, message: None)

class Stuck(CommonService):
    def initializing(self):
        self._set_name("stuck")
        time.sleep(600)     # and nobody reads the channel

class NoService:
    pass
"""


@pytest.fixture
def start(tmp_path):
    """Start a forkserver that is ended after the test."""
    started = []
    write_module(tmp_path, "stubtransport", STUB)
    write_module(tmp_path, "site_services", SERVICES)

    def make(**settings) -> Supervisor:
        started.append(Supervisor(tmp_path, **settings))
        return started[-1]

    yield make
    for supervisor in started:
        supervisor.close()


def test_every_service_is_reported(start, tmp_path):
    write_module(tmp_path, "exits", "import sys\nsys.exit('no licence')")
    write_module(tmp_path, "raises", "def broken():\n    return {}['detector']\nbroken()")
    write_module(tmp_path, "syntax", "def (")
    loaded = start(
        services={
            "a": "SampleConsumer",
            "b": "sampleconsumer",
            "c": "site_services:Quiet",
            "d": "Sample",
            "e": "exits:X",
            "f": "raises:X",
            "g": "syntax:X",
            "h": "site_services:NoService",
            "i": "site_services:Quite",
        }
    ).loaded()
    assert loaded["event"] == "loaded"
    assert loaded["python"] == sys.version.split()[0]
    classes = loaded["classes"]
    consumer = "workflows.services.sample_consumer:SampleConsumer"
    assert (classes["a"]["class"], classes["b"]["class"]) == (consumer, consumer)
    assert classes["c"]["class"] == "site_services:Quiet"
    errors = {name: c["error"] for name, c in classes.items() if "error" in c}
    assert sorted(errors) == list("defghi")
    assert "SampleProducer" in errors["d"]
    assert "SystemExit: no licence" in errors["e"]
    assert "KeyError: 'detector'" in errors["f"]
    assert "raises.py:2 in broken" in errors["f"]
    assert "SyntaxError" in errors["g"]
    assert "no subclass" in errors["h"]
    assert "did you mean 'Quiet'?" in errors["i"]
    assert not any("\n" in text for text in errors.values())
    assert loaded["warnings"] == []


def test_broken_service_cannot_be_forked_and_the_others_can(start):
    supervisor = start(services={"good": "site_services:Quiet", "bad": "site_services:Quite"})
    supervisor.loaded()
    for service, part in (("bad", "did you mean"), ("unknown", "no service 'unknown'")):
        serial, channel, log = supervisor.request(service)
        answer = receive(supervisor.channel)
        assert (answer["event"], answer["serial"]) == ("fork-failed", serial)
        assert part in answer["error"]
        channel.close()
        os.close(log)
    supervisor.fork("good").until("ready")


def test_preload_that_fails_ends_it(start, tmp_path):
    write_module(tmp_path, "flex", "import no_such_library")
    supervisor = start(runtime="dials", preload=["flex"], services={"a": "site_services:Quiet"})
    answer = supervisor.loaded()
    assert answer["event"] == "failed"
    assert "preload of runtime dials" in answer["error"]
    assert "no_such_library" in answer["error"]
    assert supervisor.process.wait(DEADLINE) == 1


def test_site_configuration_that_fails_ends_it(start):
    answer = start(site={"environments": {}, "configurations": {}, "active": ["nowhere"]}).loaded()
    assert answer["event"] == "failed"
    assert "'nowhere'" in answer["error"]


def test_thread_at_import_is_a_warning_with_its_name(start, tmp_path):
    write_module(
        tmp_path,
        "threaded",
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), name='detector-poll', daemon=True).start()\n",
    )
    supervisor = start(preload=["threaded"], services={"a": "site_services:Quiet"})
    (warning,) = supervisor.loaded()["warnings"]
    assert "'detector-poll'" in warning


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: state, ppid, pgrp, session, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def test_worker_is_a_child_of_the_supervisor_in_a_session_of_its_own(start):
    supervisor = start(services={"quiet": "site_services:Quiet"})
    supervisor.loaded()
    worker = supervisor.fork("quiet", 3)
    worker.until("ready")
    _, parent, group, session = stat(worker.pid)[:4]
    assert (int(parent), int(group), int(session)) == (os.getpid(), worker.pid, worker.pid)
    assert Path(f"/proc/{worker.pid}/cmdline").read_bytes().startswith(b"zocalod: quiet/3")
    assert b"zocalod: forkserver default" in Path(f"/proc/{supervisor.process.pid}/cmdline").read_bytes()
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL


def test_nothing_leaks_into_workers_or_stays_in_the_forkserver(start):
    supervisor = start(services={"quiet": "site_services:Quiet"})
    supervisor.loaded()
    descriptors = Path(f"/proc/{supervisor.process.pid}/fd")
    before = sorted(descriptors.iterdir())
    workers = [supervisor.fork("quiet", i) for i in range(5)]
    for worker in workers:
        worker.until("ready")
    open_files = [str(link.readlink()) for link in Path(f"/proc/{workers[-1].pid}/fd").iterdir()]
    kinds = sorted(name.partition(":")[0] for name in open_files)
    # stdin, the log pipe twice, its channel, and both ends of the pipe that SIGTERM writes to
    assert kinds == ["/dev/null", *["pipe"] * 5, "socket"], open_files
    assert sorted(descriptors.iterdir()) == before
    assert Path(f"/proc/{supervisor.process.pid}/task/{supervisor.process.pid}/children").read_text() == ""


def test_what_workers_need_is_rehearsed_and_laid_out_before_the_fork(start, tmp_path):
    write_module(
        tmp_path,
        "prepared",
        "import logging\n"
        "from workflows.services.common_service import CommonService\n"
        "class Prepared(CommonService):\n"
        "    def initializing(self):\n"
        "        known = logging.root.manager.loggerDict\n"
        "        loggers = [one for one in known.values() if isinstance(one, logging.Logger)]\n"
        "        pages = {id(one._cache) // 4096 for one in loggers}\n"
        "        print('zocalo_daemon.rehearsal' in known, len(loggers) > 30, len(pages) < 10)\n",
    )
    supervisor = start(services={"prepared": "prepared:Prepared"})
    supervisor.loaded()
    worker = supervisor.fork("prepared")
    worker.until("ready")
    assert worker.output() == "True True True\n"


def test_no_process_to_be_had(start, tmp_path):
    write_module(
        tmp_path,
        "exhausted",
        "import errno, os\n"
        "def fork():\n"
        "    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "os.fork = fork\n",
    )
    supervisor = start(preload=["exhausted"], services={"quiet": "site_services:Quiet"})
    supervisor.loaded()
    for _ in range(3):
        serial, channel, log = supervisor.request("quiet")
        assert receive(supervisor.channel) == {
            "event": "fork-failed",
            "serial": serial,
            "error": "no process more is allowed; raise TasksMax or LimitNPROC, or the sysctl kernel.pid_max",
            "refused": True,
        }
        channel.close()
        os.close(log)


def test_many_requests_at_once(start):
    supervisor = start(services={"quiet": "site_services:Quiet"})
    supervisor.loaded()
    asked = [supervisor.request("quiet", i) for i in range(16)]
    answers = [receive(supervisor.channel) for _ in asked]
    assert [a["serial"] for a in answers] == [serial for serial, _, _ in asked]
    for (_, channel, log), answer in zip(asked, answers, strict=True):
        assert receive(channel)["event"] == "ready"
        os.kill(answer["pid"], signal.SIGKILL)
        os.waitpid(answer["pid"], 0)
        channel.close()
        os.close(log)


def test_workers_forked_together_hold_nothing_of_each_other(start):
    supervisor = start(services={"quiet": "site_services:Quiet"})
    os.kill(supervisor.process.pid, signal.SIGSTOP)  # so that the requests arrive together
    asked = [supervisor.request("quiet", i) for i in range(8)]
    os.kill(supervisor.process.pid, signal.SIGCONT)
    supervisor.loaded()
    pids = [receive(supervisor.channel)["pid"] for _ in asked]
    for (_, channel, log), pid in zip(asked, pids, strict=True):
        assert receive(channel)["event"] == "ready"
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) == 7
        assert int(stat(pid)[1]) == os.getpid()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        channel.settimeout(DEADLINE)
        with contextlib.suppress(ConnectionResetError):
            assert channel.recv(100) == b""  # nobody else has its other end
        channel.close()
        os.close(log)


def test_garbage_from_the_supervisor_ends_it(start, tmp_path):
    supervisor = start(services={"quiet": "site_services:Quiet"})
    supervisor.loaded()
    supervisor.channel.send(b"\xc1")
    assert supervisor.process.wait(DEADLINE) == 1
    log = (tmp_path / "forkserver.log").read_text()
    assert "forkserver default: a message is not valid msgpack" in log
    assert "Traceback" not in log


def test_forkserver_ends_when_its_channel_closes_and_its_workers_go_on(start):
    supervisor = start(services={"quiet": "site_services:Quiet"})
    supervisor.loaded()
    worker = supervisor.fork("quiet")
    worker.until("ready")
    supervisor.channel.close()
    assert supervisor.process.wait(DEADLINE) == 0
    worker.drain()
    assert worker.wait() == 0


def test_forkserver_of_another_parent_does_not_start(start):
    assert start(parent=1).process.wait(DEADLINE) == 1


def test_idle_forkserver_never_wakes_up(start):
    supervisor = start(services={"quiet": "site_services:Quiet"})
    supervisor.loaded()
    status = Path(f"/proc/{supervisor.process.pid}/status")
    wait_until(lambda: stat(supervisor.process.pid)[0] == "S")
    before = status.read_text().partition("voluntary_ctxt_switches")[2]
    time.sleep(1)
    assert status.read_text().partition("voluntary_ctxt_switches")[2] == before


def test_all_die_with_the_supervisor(tmp_path):
    linux.become_subreaper()  # the orphans are reaped here
    write_module(tmp_path, "stubtransport", STUB)
    write_module(tmp_path, "site_services", SERVICES)
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.process.standin import Supervisor\n"
        "from pathlib import Path\n"
        "services = {n: 'site_services:' + n for n in ('Quiet', 'Stuck')}\n"
        f"s = Supervisor(Path({str(tmp_path)!r}), services=services)\n"
        "s.loaded()\n"
        "workers = [s.fork('Quiet'), s.fork('Quiet', 1), s.fork('Stuck')]\n"
        "for w, event in zip(workers, ('ready', 'ready', 'name')): w.until(event)\n"
        "print(s.process.pid, *(w.pid for w in workers), flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 4
        process.kill()
        process.wait()

    try:
        wait_until(lambda: all(map(ended, pids)))
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def ended(pid: int) -> bool:
    try:
        return stat(pid)[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def fingerprints(start, **services) -> dict[str, str]:
    supervisor = start(services=services)
    return {name: c["fingerprint"] for name, c in supervisor.loaded()["classes"].items()}


def test_fingerprint_follows_the_code_of_its_service_only(start, tmp_path):
    template = "from workflows.services.common_service import CommonService\n"
    write_module(tmp_path, "spots.__init__", "")
    write_module(tmp_path, "spots.service", template + "import beamline\nclass S(CommonService): pass\n")
    write_module(tmp_path, "spots.lazily", "")
    write_module(tmp_path, "beamline", "x = 1\n")
    write_module(tmp_path, "other", template + "class S(CommonService): pass\n")
    before = fingerprints(start, spots="spots.service:S", other="other:S")
    assert fingerprints(start, spots="spots.service:S", other="other:S") == before
    # A neighbour more, even of the same package, changes nothing for those that are there.
    more = fingerprints(start, consumer="SampleConsumer", spots="spots.service:S", other="other:S")
    assert more["spots"] == before["spots"]
    both = fingerprints(start, consumer="SampleConsumer", producer="SampleProducer")
    assert both["consumer"] == more["consumer"]
    for module in ("spots.service", "spots.lazily", "beamline"):
        path = tmp_path / (module.replace(".", "/") + ".py")
        path.write_text(path.read_text() + "# changed\n")
        after = fingerprints(start, spots="spots.service:S", other="other:S")
        assert after["spots"] != before["spots"], module
        assert after["other"] == before["other"], module
        before = after


def test_services_of_a_foreign_interpreter(start, foreign):
    (packages,) = foreign.parent.parent.glob("lib/python3.*/site-packages")
    write_module(
        packages,
        "far_away",
        """
        import sys
        from workflows.services.common_service import CommonService

        class Far(CommonService):
            def initializing(self):
                self._set_name(sys.version)
                for name in ("yaml", "psutil", "pytest"):
                    try:
                        __import__(name)
                        print("LEAK", name, sys.modules[name])
                    except ImportError:
                        pass
        """,
    )
    supervisor = start(interpreter=foreign, services={"far": "far_away:Far", "consumer": "SampleConsumer"})
    loaded = supervisor.loaded()
    assert loaded["classes"]["far"]["class"] == "far_away:Far"
    worker = supervisor.fork("far")
    name = worker.until("name")["name"]
    expected = subprocess.run(
        [foreign, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert name == expected
    assert loaded["python"] == expected.split()[0]
    worker.until("ready")
    worker.drain()
    assert worker.wait() == 0
    assert "LEAK" not in worker.output()
    consumer = supervisor.fork("consumer")
    consumer.until("ready")


def test_interpreter_without_msgpack_says_what_to_do(start, bare):
    answer = start(interpreter=bare).loaded()
    assert answer["event"] == "failed"
    assert "cannot import msgpack" in answer["error"]
    assert "pip install msgpack" in answer["error"]
