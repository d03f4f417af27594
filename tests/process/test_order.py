"""The real daemon: services that come after others, and workers that grow old."""

from __future__ import annotations

import signal

from tests.waiting import wait_until


def slow(directory, **more):
    directory.mkdir(exist_ok=True)
    return {"class": "trial:Slow", "environment": {"directory": str(directory)}, **more}


def times(d, event, *names):
    """Return when each instance had an event for the last time."""
    found = {item["id"]: item["time"] for item in d.events() if item["event"] == event}
    return [found[name] for name in names]


def test_services_start_one_after_the_other_and_stop_the_other_way_round(daemon, tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    first = {"class": "trial:Fragile", "environment": {"broken": str(broken)}, "restart": {"backoff": "0.2s"}}
    d = daemon({"last": slow(tmp_path / "last", after=["first"]), "first": first}).start(ready=False)
    d.wait_state("first/0", "backoff")
    waiting = d.instance("last/0")
    assert (waiting["state"], waiting["pid"]) == ("starting", None)
    assert waiting["reason"].startswith("waits for first to be ready")
    failed = d.ctl("start", "last", check=False)
    assert failed.returncode == 1
    assert "waits for first to be ready" in failed.stdout + failed.stderr
    broken.unlink()
    d.ctl("start", "first", "last")
    first_ready, last_started = times(d, "ready", "first/0") + times(d, "started", "last/0")
    assert first_ready <= last_started
    # The one behind still works when both are to stop.
    d.ctl("send", "slow", "1")
    wait_until((tmp_path / "last" / "started").exists)
    d.ctl("stop", "all", "--no-wait")
    held = d.instance("first/0")
    assert (held["state"], held["reason"]) == ("ready", "stops after last")
    d.wait_state("first/0", "stopped")
    first_ended, last_ended = times(d, "stopped", "first/0", "last/0")
    assert last_ended <= first_ended
    d.ctl("start", "all")
    assert d.stop() == 0
    assert d.stderr().rindex("last/0 stopped") < d.stderr().rindex("first/0 stopped")


def test_a_second_sigterm_respects_no_order(daemon, tmp_path):
    last = slow(tmp_path / "last", after=["first"], stop_timeout="1h")
    first = {"class": "trial:Fragile", "environment": {"broken": str(tmp_path / "broken")}}
    d = daemon({"first": first, "last": last}).start()
    d.ctl("send", "slow", "3600")
    wait_until((tmp_path / "last" / "started").exists)
    d.process.send_signal(signal.SIGTERM)
    wait_until(lambda: d.instance("first/0")["reason"] == "stops after last", every=0.05)
    assert d.stop() == 0


def test_a_cycle_is_an_error_with_file_and_line(daemon, tmp_path):
    d = daemon({"a": slow(tmp_path / "a"), "b": slow(tmp_path / "b", after=["a"])}).start()
    d.configure({"a": slow(tmp_path / "a", after=["b"]), "b": slow(tmp_path / "b", after=["a"])})
    refused = d.ctl("reload", check=False)
    assert refused.returncode == 1
    assert f"{d.config_file}:" in refused.stderr
    assert "services.a.after: a cycle: a -> b -> a" in refused.stderr


def test_workers_that_grow_old_are_replaced_one_at_a_time(daemon, tmp_path):
    d = daemon({"old": slow(tmp_path / "old", instances=2, max_age="1s")}).start()
    wait_until(lambda: [item["id"] for item in d.events() if item["event"] == "recycled"][3:], every=0.1)
    assert {i["state"] for i in d.instances().values()} == {"ready"}
    assert {i["restarts"] for i in d.instances().values()} == {0}
    for item in d.events():
        assert item["event"] not in ("failed", "kept")
        if item["event"] == "recycled":
            assert item["text"].startswith("age ")
