"""What `zocaloctl status` shows of a status document."""

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
        relay={"pid": 1, "state": "restarting"}, forkservers=[{"runtime": "dials", "state": "failed"}]
    )
    assert "relay: restarting" in lines
    assert "forkserver of runtime dials: failed" in lines


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


def test_names_cannot_command_the_terminal():
    evil = service("\033]0;x\a", ["failed"], reason="\033[2J")
    lines = render(document(evil, state="\033[H"), each=False, columns=80, colour=False)
    assert "\033" not in "".join(lines)


def test_a_document_without_most_keys_is_shown():
    assert render({}, each=False, columns=None, colour=False)
    assert render({"services": [{"instances": [{}]}]}, each=True, columns=None, colour=True)
