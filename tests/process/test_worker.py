"""One worker: how it starts, what it reports, and every way in which it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests.process.standin import STUB, Supervisor, Worker, write_module
from tests.waiting import wait_until
from zocalo_daemon.protocol.channel import CUT_OFF

SERVICES = """
import ctypes, logging, os, random, sys, threading, time, atexit, multiprocessing
from workflows.services.common_service import CommonService

class Base(CommonService):
    _logger_name = "site.service"
    def initializing(self):
        self.transport.subscribe("images", self.on_message)
    def on_message(self, header, message):
        pass
    def in_shutdown(self):
        print("in_shutdown")

class Quiet(Base):
    pass

class Exits(Base):
    def on_message(self, header, message):
        sys.exit("no more licences")

class Fails(Base):
    def on_message(self, header, message):
        with self.extend_log("recipe_ID", "r-1"):
            raise KeyError("detector")

class FailsEarly(Base):
    def initializing(self):
        raise ValueError("no\\ndetector")

class FailsAtOnce(Base):
    def __init__(self, **kwargs):
        raise RuntimeError("constructor")

class FailsTwice(Fails):
    def in_shutdown(self):
        raise OSError("shutdown")

class FailsInShutdown(Base):
    def in_shutdown(self):
        raise OSError("shutdown")

class ShutsDown(Base):
    def on_message(self, header, message):
        self._shutdown()

class Terminates(Base):
    def on_message(self, header, message):
        self._request_termination()

class Busy(Base):
    def on_message(self, header, message):
        print("busy")
        # one call of a C library, until somebody opens the other end of the pipe
        result = ctypes.CDLL(None).open(self._environment["until"].encode(), os.O_RDONLY)
        print("callback returned", result > 0)

class Facts(Base):
    def initializing(self):
        self._set_name("facts of " + os.environ["ZOCALO_SERVICE_INSTANCE"])
        self.log.info("facts", extra={"nice": os.nice(0), "random": random.random(),
            "live": self._environment["live"], "tag": self._environment["tag"],
            "storage": self.config.storage["zocalo.recipe_directory"], "stdin": sys.stdin.read()})
        self.log.debug("verbose")

class Flood(Base):
    def on_message(self, header, message):
        for i in range(5000):
            self.log.warning("line %d %s", i, "x" * 200)
        print("flooded")
        self._set_name("again")
        self.log.warning("after the flood")

class Lingers(Base):
    def initializing(self):
        atexit.register(print, "atexit ran")
        sys.stdout.write("no newline")
        threading.Thread(target=time.sleep, args=(600,), name="poller").start()

class Forks(Base):
    def on_message(self, header, message):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        time.sleep(0.1)
        child.terminate()
        child.join()
        print("child ended with", child.exitcode)

class Verbose(Base):
    def initializing(self):
        print("level of beamline", logging.getLogger("beamline").level)

class Slow(Base):
    def initializing(self):
        while not os.path.exists(self._environment["until"]):
            time.sleep(0.01)
"""

SITE = {
    "environments": {"live": ["store", "levels"]},
    "configurations": {
        "store": {"plugin": "storage", "zocalo.recipe_directory": "/recipes"},
        "levels": {
            "plugin": "logging",
            "version": 1,
            "verbose": [{"loggers": {"beamline": {"level": "INFO"}}}],
        },
    },
    "active": ["live"],
}


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory):
    """A forkserver with all services of SERVICES, for all tests of this module."""
    directory = tmp_path_factory.mktemp("worker")
    write_module(directory, "stubtransport", STUB)
    write_module(directory, "site_services", SERVICES)
    names = [line.split()[1].split("(")[0] for line in SERVICES.splitlines() if line.startswith("class ")]
    made = Supervisor(directory, services={name: f"site_services:{name}" for name in names}, site=SITE)
    errors = [c for c in made.loaded()["classes"].values() if "error" in c]
    assert not errors
    yield made
    made.close()


def named(events: list[dict], event: str) -> list[dict]:
    return [e for e in events if e["event"] == event]


def test_drain(supervisor):
    worker = supervisor.fork("Quiet")
    worker.until("ready")
    worker.drain()
    assert worker.wait() == 0
    assert worker.output().split("\n")[:-1] == ["transport: drain", "in_shutdown", "transport: disconnect"]
    ready = {"event": "ready", "name": "unnamed service"}
    assert worker.rest() == [ready, {"event": "state", "state": "stopping"}]


def test_ready_only_after_initializing_and_a_drain_before_is_not_lost(supervisor, tmp_path):
    until = tmp_path / "until"
    worker = supervisor.fork("Slow", environment={"until": str(until)})
    worker.drain()
    worker.channel.settimeout(0.2)
    with pytest.raises(TimeoutError):
        worker.channel.recv(100)
    until.touch()
    worker.until("ready")
    assert worker.wait() == 0


@pytest.mark.parametrize(
    ("service", "error", "ready"),
    [
        ("Exits", "SystemExit: no more licences", True),
        ("Fails", "KeyError: 'detector'", True),
        ("FailsEarly", "ValueError: no detector", False),
        ("FailsAtOnce", "RuntimeError: constructor", False),
        ("FailsTwice", "KeyError: 'detector'", True),
    ],
)
def test_failure_is_one_line_and_status_1(supervisor, service, error, ready):
    worker = supervisor.fork(service)
    assert worker.wait() == 1
    events = worker.rest()
    (reported,) = named(events, "error")
    assert reported["error"].startswith(error)
    assert "site_services.py:" in reported["error"]
    assert "\n" not in reported["error"]
    assert bool(named(events, "ready")) == ready
    output = worker.output()
    told = [output, *(log["message"] for log in named(events, "log"))]
    assert any("Traceback (most recent call last)" in text for text in told)
    if service not in ("FailsAtOnce",):
        assert "transport: disconnect" in output
    if service in ("Fails", "FailsEarly"):
        assert "Traceback (most recent call last)" not in output  # it has come as a record of the log


def test_failure_in_shutdown(supervisor):
    worker = supervisor.fork("FailsInShutdown")
    worker.until("ready")
    worker.drain()
    assert worker.wait() == 1
    (reported,) = named(worker.rest(), "error")
    assert reported["error"].startswith("OSError: shutdown")


def test_critical_log_of_a_failure(supervisor):
    worker = supervisor.fork("Fails")
    worker.wait()
    (log,) = named(worker.rest(), "log")
    assert log["level"] == 50
    assert log["logger"] == "site.service"
    assert "Unhandled service exception: 'detector'\nTraceback" in log["message"]
    assert log["extra"]["recipe_ID"] == "r-1"
    assert log["extra"]["workflows_exc_funcName"] == "on_message"
    assert "Unhandled" not in worker.output()  # which would come to the same log a second time


def test_service_that_shuts_itself_down(supervisor):
    worker = supervisor.fork("ShutsDown")
    assert worker.wait() == 0
    assert worker.rest()[-1] == {"event": "state", "state": "stopping"}
    assert "in_shutdown" in worker.output()


def test_service_that_asks_to_be_terminated(supervisor):
    worker = supervisor.fork("Terminates")
    assert worker.wait() == 0
    assert [e["event"] for e in worker.rest()] == ["ready", "terminate", "state"]
    assert worker.output().startswith("transport: drain\nin_shutdown")


def test_sigterm_drains_at_once_even_in_a_long_call(supervisor, tmp_path):
    until = tmp_path / "until"
    os.mkfifo(until)
    worker = supervisor.fork("Busy", environment={"until": str(until)})
    os.set_blocking(worker.log, False)
    seen = []

    def printed(text: str) -> bool:
        with contextlib.suppress(BlockingIOError):
            seen.append(os.read(worker.log, 4096).decode())
        return text in "".join(seen)

    wait_until(lambda: printed("busy"))
    signal.pidfd_send_signal(worker.pidfd, signal.SIGTERM)
    wait_until(lambda: printed("transport: drain"))
    assert not printed("callback returned")
    os.close(os.open(until, os.O_WRONLY))
    assert worker.wait() == 0
    wait_until(lambda: printed("disconnect"))
    assert "".join(seen).index("callback returned True") < "".join(seen).index("in_shutdown")


def test_terminating_a_child_of_the_service_does_not_drain_the_worker(supervisor):
    worker = supervisor.fork("Forks")
    os.set_blocking(worker.log, True)
    assert os.read(worker.log, 4096) == b"child ended with -15\n"
    assert not [e for e in worker.events if e["event"] == "state"]
    worker.drain()
    assert worker.wait() == 0


def test_what_a_service_finds(supervisor):
    worker = supervisor.fork("Facts", 4, environment={"tag": "t1"}, nice=5, verbose=True)
    assert worker.until("name")["name"] == "facts of Facts/4"
    facts = worker.until("log")["extra"]
    assert facts["nice"] == os.nice(0) + 5
    assert facts["live"] is True
    assert facts["tag"] == "t1"
    assert facts["storage"] == "/recipes"
    assert facts["stdin"] == ""
    assert worker.until("log")["message"] == "verbose"
    other = supervisor.fork("Facts", environment={"tag": "t2", "live": False})
    other_facts = other.until("log")["extra"]
    assert other_facts["random"] != facts["random"]
    assert other_facts["live"] is False
    other.until("ready")
    assert not [e for e in other.events if e.get("message") == "verbose"]


@pytest.mark.parametrize(("verbose", "level"), [(False, 0), (True, 20)])
def test_verbose_raises_the_verbosity_of_the_site(supervisor, verbose, level):
    worker = supervisor.fork("Verbose", verbose=verbose)
    worker.until("ready")
    assert worker.output() == f"level of beamline {level}\n"


def test_log_flood_blocks_nobody_and_is_counted(supervisor):
    worker = supervisor.fork("Flood")
    os.set_blocking(worker.log, True)
    assert os.read(worker.log, 100) == b"flooded\n"  # and nobody has read its channel
    worker.until("name")  # waited until there was room
    worker.drain()
    events = worker.rest()
    assert worker.wait() == 0
    logs = named(events, "log")
    assert 50 < len(logs) < 5000
    assert logs[-1]["message"] == "after the flood"
    assert sum(e["dropped"] for e in logs) == 5001 - len(logs)
    assert [e["event"] for e in events if e["event"] != "log"] == ["ready", "name", "state"]


def test_threads_left_behind_do_not_hold_it_up(supervisor):
    worker = supervisor.fork("Lingers")
    worker.until("ready")
    worker.drain()
    assert worker.wait(5) == 0
    output = worker.output()
    assert "no newline" in output
    assert "atexit ran" in output
    assert "threads still running: poller" in output


def test_closed_channel_ends_it(supervisor):
    worker = supervisor.fork("Quiet")
    worker.until("ready")
    worker.channel.close()
    assert worker.wait(5) == CUT_OFF


def test_garbage_on_the_channel_is_ignored(supervisor):
    worker = supervisor.fork("Quiet")
    worker.until("ready")
    worker.channel.send(b"\xc1garbage")
    worker.drain()
    assert worker.wait() == 0
    assert "ignored a message of the supervisor" in worker.output()


def test_idle_worker_wakes_up_only_for_the_main_loop_of_common_service(supervisor):
    worker: Worker = supervisor.fork("Quiet")
    worker.until("ready")
    tasks = [task / "status" for task in Path(f"/proc/{worker.pid}/task").iterdir()]

    def switches() -> int:
        return sum(int(t.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for t in tasks)

    time.sleep(0.3)
    before = switches()
    time.sleep(1)
    assert switches() - before <= 3  # it looks at its queue every two seconds
