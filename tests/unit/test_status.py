"""What `zocaloctl status` shows of a status document."""

import time

import pytest

from zocalo_daemon.client.status import FEW, FEW_PROBLEMS, all_running, render


def instance(name, state="ready", **more):
    alive = state in ("ready", "starting", "draining")
    return {
        "id": name,
        "pid": 41 if alive else None,
        "state": state,
        "uptime_s": 3.0 if alive else 0.0,
        "restarts": 0,
        "last_exit": None,
        "reason": None,
        "next_start_s": None,
        "processed": 12,
        "in_flight": 1,
        "rss_bytes": 2**20,
        "pss_bytes": 2**19,
        "cpu_s": 0.5,
        **more,
    }


def service(name, states, wanted=None, **more):
    instances = [instance(f"{name}/{number}", state) for number, state in enumerate(states)]
    return {"name": name, "wanted": len(states) if wanted is None else wanted, "instances": instances, **more}


def document(*services, **daemon):
    about = {"pid": 7, "version": "0.1.0", "uptime_s": 3.2, "state": "running", **daemon}
    return {"daemon": about, "services": list(services), "transports": []}


def show(*services, each=False, **daemon):
    return render(document(*services, **daemon), each=each, columns=None, colour=False)


def first_cells(lines):
    return [line.split()[0] for line in lines[3:] if line]


@pytest.mark.parametrize(
    ("states", "wanted", "fine"),
    [
        (["ready", "ready"], 2, True),
        ([], 0, True),
        ([], 1, False),
        (["ready"], 2, False),
        (["ready", "draining"], 1, True),  # a surplus that goes
        (["ready", "draining"], 2, False),
        (["starting"], 1, False),
        (["backoff"], 1, False),
        (["failed"], 0, False),
        (["stopped"], 0, False),
        (["ready", "ready", "stopped"], 2, False),
        (["of the future"], 0, False),
    ],
)
def test_all_running(states, wanted, fine):
    assert all_running(document(service("a", ["ready"]), service("b", states, wanted))) is fine


def test_a_ready_instance_that_is_stopped_or_hangs_is_a_problem():
    lines = service("spot", ["ready", "ready"])
    lines["instances"][1] |= {"stalled": True, "reason": "stopped by SIGSTOP"}
    assert not all_running(document(lines))
    assert "1 of 2 instances ready" in show(lines)[0]


def test_headline_says_how_many_are_ready():
    lines = show(service("a", ["ready", "stopped"], wanted=1))
    assert lines[0] == "zocalod 0.1.0, pid 7, running, up 3.2s: 1 of 2 instances ready"


def test_few_instances_have_a_line_each_with_problems_first():
    lines = show(service("good", ["ready", "ready"]), service("bad", ["ready", "failed", "ready"]))
    assert first_cells(lines) == ["bad/1", "bad/0", "bad/2", "good/0", "good/1"]


def test_many_instances_are_summed_up_with_problems_below_their_service():
    states = ["ready"] * 400
    states[17] = "backoff"
    lines = show(service("small", ["ready"]), service("large", states))
    assert first_cells(lines) == ["large", "large/17", "small/0"]
    total = lines[3]
    assert "399 of 400 ready" in total
    assert str(400 * 12) in total
    assert "399" in total or "400.0 MiB" in total


def test_many_problems_are_counted():
    lines = show(service("large", ["failed"] * 100))
    assert len(first_cells(lines)) == 1 + FEW_PROBLEMS + 1
    assert f"and {100 - FEW_PROBLEMS} more" in lines[-1]


def test_each_instance_on_demand():
    assert len(first_cells(show(service("large", ["ready"] * (FEW + 1)), each=True))) == FEW + 1


def test_why_says_reason_and_next_start():
    waiting = service("a", [])
    waiting["instances"] = [instance("a/0", "backoff", reason="signal SIGSEGV", next_start_s=3.2, restarts=4)]
    assert show(waiting)[3].endswith("signal SIGSEGV; starts in 3.2s")


def test_why_says_how_the_worker_before_ended():
    restarted = service("a", [])
    restarted["instances"] = [instance("a/0", restarts=1, last_exit="signal SIGKILL")]
    assert show(restarted)[3].endswith("last exit: signal SIGKILL")


def test_a_service_without_instances_that_wants_some_is_shown():
    lines = show(service("a", [], wanted=2, reason="cannot be imported"))
    assert "2 missing" in lines[3]
    assert lines[3].endswith("cannot be imported")


def test_a_relay_or_forkserver_that_is_not_well_is_shown():
    lines = show(
        relay={"pid": None, "state": "stopped", "reason": "its database is damaged"},
        forkservers=[
            {"runtime": "dials", "state": "failed", "reason": "no msgpack"},
            {"runtime": "other", "state": "starting"},
        ],
    )
    assert lines[1].startswith("relay: stopped; its database is damaged; no message is delivered; see ")
    assert lines[2] == "forkserver of runtime dials: failed; no msgpack; mend it, then: zocaloctl reload"
    assert lines[3] == "forkserver of runtime other: starting"


@pytest.mark.parametrize(
    ("state", "more", "why"),
    [
        ("failed", {"reason": "2 deaths"}, "2 deaths; to try again: zocaloctl start a/0"),
        ("stopped", {"reason": "by uid 7 (zocaloctl, pid 9)"}, "by uid 7 (zocaloctl, pid 9)"),
        ("backoff", {"reason": "1", "last_crash": 3, "next_start_s": 2}, "1; crash report 3; starts in 2.0s"),
        ("starting", {}, "in initializing()"),
        ("starting", {"pid": None}, "its runtime is being loaded"),
        ("starting", {"pid": None, "reason": "waits for b"}, "waits for b"),
        ("draining", {}, "finishes the message in hand"),
        ("ready", {"reason": "stopped by SIGSTOP"}, "stopped by SIGSTOP"),
        ("ready", {"restarts": 1, "last_exit": "1", "last_crash": 3}, "last exit: 1; crash report 3"),
    ],
)
def test_the_last_column_says_why_it_does_not_run(state, more, why):
    ill = service("a", [])
    ill["instances"] = [instance("a/0", state, **more)]
    assert show(ill)[3].endswith("  " + why)


def test_a_narrow_terminal_gets_all_of_the_reasons():
    ill = service("spotfinder", ["ready"] * 3)
    reason = "11 deaths within 120 s of running, the last one: signal SIGSEGV: in a module of the site"
    ill["instances"][1] = instance("spotfinder/1", "failed", reason=reason)
    whole = document(ill, relay={"state": "stopped", "reason": "its database is damaged beyond repair"})
    lines = render(whole, each=True, columns=80, colour=False)
    assert max(map(len, lines)) <= 80
    assert reason in " ".join(line.strip() for line in lines)
    assert "zocaloctl start spotfinder/1" in " ".join(line.strip() for line in lines)
    assert any("INSTANCE" in line and "STATE" in line and "PID" in line for line in lines)
    assert len(render(whole, each=True, columns=400, colour=False)) == 7


def test_transports_come_after_the_services():
    whole = document(service("a", ["ready"]))
    whole["transports"] = [
        {
            "name": "rabbit",
            "driver": "rabbitmq",
            "state": "connecting",
            "host": "mq:5672",
            "detail": "refused",
        }
    ]
    lines = render(whole, each=False, columns=None, colour=False)
    assert lines[-2].split()[:2] == ["TRANSPORT", "DRIVER"]
    assert lines[-1].split() == ["rabbit", "rabbitmq", "connecting", "mq:5672", "refused"]
    whole["transports"][0] |= {"since": 1_700_000_000.0, "next_attempt_s": 2.31}
    lines = render(whole, each=False, columns=None, colour=False)
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_700_000_000))
    assert lines[-1].endswith(f"refused; since {since}; next attempt in 2.3s")
    whole["transports"][0] |= {"since": None, "next_attempt_s": None}
    whole["transports"][0] |= {"spooled": 214, "spooled_bytes": 2048, "spooled_since": time.time() - 190}
    lines = render(whole, each=False, columns=None, colour=False)
    assert lines[-1].endswith("refused; 214 spooled (2.0 KiB), oldest 3m10s")
    whole["transports"][0] |= {"state": "connected", "detail": "", "spooled_since": None}
    lines = render(whole, each=False, columns=None, colour=False)
    assert lines[-1].split()[-4:] == ["214", "spooled", "(2.0", "KiB)"]
    whole["transports"][0] |= {"state": "connecting", "spooled": 0}
    whole["daemon"]["relay"] = {"state": "stopped"}
    del whole["transports"][0]["detail"]
    lines = render(whole, each=False, columns=None, colour=False)
    assert lines[-1].endswith("the relay is stopped")


def test_names_cannot_command_the_terminal():
    evil = service("\033]0;x\a", ["failed"], reason="\033[2J")
    lines = render(document(evil, state="\033[H"), each=False, columns=80, colour=False)
    assert "\033" not in "".join(lines)


def test_a_document_without_most_keys_is_shown():
    assert render({}, each=False, columns=None, colour=False)
    assert render({"services": [{"instances": [{}]}]}, each=True, columns=None, colour=True)
