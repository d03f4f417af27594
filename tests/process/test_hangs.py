"""Workers that hang or are stopped, in the real daemon: seen in time, named, ended, replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from tests.controlkit import Control
from tests.waiting import wait_until

LIMIT = 0.5  # seconds, the hang_timeout of these services
NOTICED = 1.0  # seconds after it, at most


def hanger(directory, where, **more):
    environment = {"directory": str(directory), "where": where, **more.pop("environment", {})}
    return {
        "hanger": {
            "class": "hanging:Hanger",
            "hang_timeout": f"{LIMIT}s",
            "environment": environment,
            "restart": {"backoff": "0.05s"},
            **more,
        }
    }


def events(d, word, name="hanger/0"):
    with contextlib.closing(Control(d.socket)) as control:
        return [
            one for one in control.items("events", lines=500) if (one["event"], one["id"]) == (word, name)
        ]


def hang(directory):
    (directory / "hang").touch()


def wait_hung(d, directory, what):
    """Wait until the hang is announced; see that it was in time and said as expected."""
    (event,) = wait_until(lambda: events(d, "hung"), "the hang is announced", every=0.05)
    assert event["text"] == what
    began = float((directory / "hanging").read_text())
    assert LIMIT - 0.01 <= event["time"] - began <= LIMIT + NOTICED


def wait_handled(directory, count):
    file = directory / "handled"
    wait_until(lambda: file.exists() and len(file.read_text().splitlines()) == count, f"{count} handled")


def logs(d, name="hanger/0"):
    return d.ctl("logs", "-n", "200", name).stdout


def test_a_hang_in_a_callback_says_where_though_the_service_has_closed_its_output(daemon, tmp_path):
    hang(tmp_path)
    d = daemon(hanger(tmp_path, "closing")).start()
    pid = d.instance("hanger/0")["pid"]
    d.ctl("send", "hang", "0")
    (event,) = wait_until(lambda: events(d, "hung"), "the hang is announced", every=0.05)
    assert event["text"].startswith(f"no progress for {LIMIT} s on the delivery in hand")
    wait_hung(d, tmp_path, event["text"])
    wait_handled(tmp_path, 1)
    (exited,) = events(d, "exited")
    assert exited["pid"] == pid
    assert "SIGABRT: killed, because it made no progress" in exited["text"]
    d.wait_ready()
    assert "in stuck_here" in logs(d), "the traceback of the thread that hangs"
    assert "in _read" in logs(d), "and of the others"


def test_a_hang_in_initializing(daemon, tmp_path):
    hang(tmp_path)
    d = daemon(hanger(tmp_path, "initializing")).start(ready=False)
    wait_hung(d, tmp_path, f"no progress for {LIMIT} s in initializing()")
    d.wait_ready()
    assert "in stuck_here" in logs(d)
    assert d.instance("hanger/0")["restarts"] == 1


def test_a_hang_in_shutdown_ends_before_the_stop_time_out(daemon, tmp_path):
    hang(tmp_path)
    d = daemon(hanger(tmp_path, "shutdown", stop_timeout="60s")).start()
    d.ctl("stop", "hanger", "--no-wait")
    wait_hung(d, tmp_path, f"no progress for {LIMIT} s in in_shutdown()")
    d.wait_state("hanger/0", "stopped")


def test_a_hang_of_an_idle_timer_is_one_as_soon_as_a_message_waits(daemon, tmp_path):
    hang(tmp_path)
    d = daemon(hanger(tmp_path, "idle")).start()
    wait_until((tmp_path / "hanging").exists, "the timer")
    (tmp_path / "hanging").write_text(f"{time.time()}")
    d.ctl("send", "hang", "0")
    wait_hung(d, tmp_path, f"no progress for {LIMIT} s while a message waits in the service's own queue")
    wait_handled(tmp_path, 1)


def test_one_that_ignores_sigabrt_is_killed(daemon, tmp_path):
    hang(tmp_path)
    d = daemon(hanger(tmp_path, "callback", environment={"deaf": True})).start()
    d.ctl("send", "hang", "0")
    wait_handled(tmp_path, 1)
    (exited,) = events(d, "exited")
    assert "SIGKILL: killed, because it made no progress" in exited["text"]
    assert "in stuck_here" in logs(d)


def test_a_hang_in_the_kernel_says_where(daemon, tmp_path):
    hang(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    d = daemon(hanger(tmp_path, "spawning")).start()
    d.ctl("send", "hang", "0")
    (event,) = wait_until(lambda: events(d, "hung"), "the hang is announced", every=0.05)
    assert ", in uninterruptible sleep in " in event["text"]
    wait_handled(tmp_path, 1)
    assert "in hang" in logs(d), "another thread writes where that one is"


def test_a_long_callback_under_the_limit_or_with_progress_is_left_alone(daemon, tmp_path):
    d = daemon(hanger(tmp_path, "nowhere", hang_timeout="1s", environment={"steps": 3})).start()
    pid = d.instance("hanger/0")["pid"]
    for seconds in ("1.8", "0.6"):
        d.ctl("send", "hang", seconds)
    wait_handled(tmp_path, 2)
    assert d.instance("hanger/0")["pid"] == pid
    assert events(d, "hung") == []


def test_a_stopped_worker_is_named_until_it_goes_on(daemon, tmp_path):
    d = daemon(hanger(tmp_path, "nowhere", hang_timeout="60s")).start()
    pid = d.instance("hanger/0")["pid"]
    os.kill(pid, signal.SIGSTOP)
    advice = f"stopped by SIGSTOP; it goes on with: kill -CONT {pid}"
    (event,) = wait_until(lambda: events(d, "stalled"), "the stop is announced", every=0.05)
    assert d.ctl("status", check=False).returncode == 3
    assert event["text"] == advice
    instance = d.instance("hanger/0")
    assert (instance["state"], instance["reason"]) == ("ready", advice)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: events(d, "resumed"), "it goes on", every=0.05)
    assert d.instance("hanger/0")["reason"] is None
    d.ctl("send", "hang", "0")
    wait_handled(tmp_path, 1)
    assert d.instance("hanger/0")["pid"] == pid


def test_a_worker_that_stays_stopped_is_replaced(daemon, tmp_path):
    d = daemon(hanger(tmp_path, "nowhere")).start()
    pid = d.instance("hanger/0")["pid"]
    os.kill(pid, signal.SIGSTOP)
    (event,) = wait_until(lambda: events(d, "hung"), "the hang is announced", every=0.05)
    assert event["text"] == f"no progress for {LIMIT} s: stopped by SIGSTOP"
    wait_until(lambda: d.instance("hanger/0")["pid"] not in (None, pid), "another worker", every=0.05)
    d.ctl("send", "hang", "0")
    wait_handled(tmp_path, 1)


def test_stopped_helpers_are_named(daemon, tmp_path):
    d = daemon(hanger(tmp_path, "nowhere")).start()
    document = d.status()["daemon"]
    helpers = {"relay": document["relay"]["pid"], "forkserver default": document["forkservers"][0]["pid"]}
    for name, pid in helpers.items():
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda name=name: events(d, "stalled", name), f"{name} stopped", every=0.05)
    text = d.ctl("status", check=False).stdout
    for pid in helpers.values():
        assert f"stopped by SIGSTOP; it goes on with: kill -CONT {pid}" in text
    for pid in helpers.values():
        os.kill(pid, signal.SIGCONT)
    for name in helpers:
        wait_until(lambda name=name: events(d, "resumed", name), f"{name} goes on", every=0.05)
    assert "SIGSTOP" not in d.ctl("status").stdout


def test_no_worker_is_blamed_for_the_relay(daemon, tmp_path):
    d = daemon(hanger(tmp_path, "nowhere")).start()
    relay = d.status()["daemon"]["relay"]["pid"]
    os.kill(relay, signal.SIGSTOP)
    wait_until(lambda: events(d, "stalled", "relay"), "the relay is stopped", every=0.05)
    old = d.kill("hanger/0")
    pid = wait_until(
        lambda: d.instance("hanger/0")["pid"], "another worker, which finds no relay", every=0.05
    )
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 3 * LIMIT, "it waits longer than it may hang", every=0.1)
    os.kill(relay, signal.SIGCONT)
    d.wait_ready()
    assert d.instance("hanger/0")["pid"] == pid != old
    assert events(d, "hung") == []


def test_code_that_takes_over_goes_on_watching(daemon, tmp_path):
    hang(tmp_path)
    d = daemon(hanger(tmp_path, "callback", hang_timeout="2s")).start()
    d.ctl("send", "hang", "0")
    wait_until((tmp_path / "hanging").exists, "the callback")
    d.ctl("reexec")
    wait_handled(tmp_path, 1)
    (event,) = events(d, "hung")
    assert event["text"].startswith("no progress for 2 s on the delivery in hand")
    assert len(events(d, "exited")) == 1


def test_a_new_limit_counts_for_a_callback_that_runs_already(daemon, tmp_path):
    hang(tmp_path)
    services = hanger(tmp_path, "callback")
    services["hanger"].pop("hang_timeout")
    d = daemon(services).start()
    d.ctl("send", "hang", "0")
    wait_until((tmp_path / "hanging").exists, "the callback")
    d.configure(hanger(tmp_path, "callback"))
    d.ctl("reload")
    wait_handled(tmp_path, 1)
    assert events(d, "hung")
