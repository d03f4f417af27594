"""From what the daemon says about itself to findings."""

import pytest

from zocalo_daemon.doctor.findings import Level
from zocalo_daemon.doctor.judging import dead_letters, dropped, judge, stopped


def status(*services, relay="ready", transports=(), **daemon):
    about = {"version": "1.0", "state": "running", "relay": {"pid": 2, "state": relay}, **daemon}
    return {"daemon": about, "services": list(services), "transports": list(transports)}


def service(*instances, wanted=None):
    listed = [{"id": f"a/{n}", "state": "ready", "pid": 10 + n, **more} for n, more in enumerate(instances)]
    return {"name": "a", "wanted": len(listed) if wanted is None else wanted, "instances": listed}


def bad(document, installed="1.0"):
    return [finding for finding in judge(document, installed) if finding.level is not Level.OK]


def only(document, installed="1.0"):
    (finding,) = bad(document, installed)
    return finding


def test_a_daemon_that_is_well():
    transport = {"name": "embedded", "state": "connected", "host": "/q"}
    assert bad(status(service({}, {}), transports=[transport])) == []


def test_another_version_is_installed_than_runs():
    finding = only(status(), "1.1")
    assert finding.text == "1.0 runs, 1.1 is installed"
    assert finding.do == "zocaloctl reexec"


def test_a_daemon_that_stops():
    assert only(status(state="stopping")).text == "is stopping"


def test_a_relay_that_does_not_start_says_why():
    document = status()
    document["daemon"]["relay"] = {"pid": None, "state": "stopped", "reason": "its database is damaged"}
    finding = only(document)
    assert finding.level is Level.PROBLEM
    assert "its database is damaged" in finding.text


@pytest.mark.parametrize(("state", "do"), [("full", "df"), ("connecting", "zocaloctl logs relay")])
def test_a_transport_that_is_not_connected(state, do):
    finding = only(status(transports=[{"name": "rabbit", "state": state, "detail": "refused"}]))
    assert (finding.where, finding.text) == ("rabbit", f"is {state}: refused")
    assert finding.do.startswith(do)


def test_a_runtime_that_failed():
    server = {"runtime": "dials", "pid": 3, "state": "failed", "reason": "no msgpack"}
    assert "no msgpack" in only(status(forkservers=[server])).text


@pytest.mark.parametrize(
    ("instance", "level", "text", "do"),
    [
        ({"state": "failed", "reason": "3 deaths"}, "problem", "has failed: 3 deaths", "zocaloctl start a/0"),
        ({"state": "failed", "last_crash": 7}, "problem", "has failed", "zocaloctl crashes 7"),
        ({"state": "backoff", "reason": "1", "next_start_s": 4.0}, "problem", "start in 4.0s", "logs a/0"),
        ({"state": "stopped", "reason": "by anna"}, "warning", "is stopped: by anna", "zocaloctl start a/0"),
        ({"state": "waiting", "reason": "for b"}, "warning", "is waiting: for b", "logs a/0"),
        ({"state": "starting", "uptime_s": 90.0}, "warning", "is starting for 1m30s", "logs a/0"),
        ({"reason": "kept the old worker"}, "warning", "is ready, but kept the old worker", "logs a/0"),
    ],
)  # fmt: skip
def test_an_instance_that_is_not_well(instance, level, text, do):
    finding = only(status(service(instance)))
    assert (finding.level, finding.where) == (level, "a/0")
    assert text in finding.text
    assert do in finding.do


def test_instances_with_the_same_trouble_are_one_line():
    finding = only(status(service(*[{"state": "failed", "reason": "no disk"}] * 9)))
    assert finding.where == "a/0, a/1, a/2, a/3 and 5 more"
    assert "zocaloctl start a" in finding.do


def test_instances_that_are_missing():
    assert "2 of its instances are missing" in only(status(service({}, wanted=3))).text


def test_processes_that_the_kernel_has_stopped():
    server = {"runtime": "default", "pid": 3}
    document = status(service({}, {}), forkservers=[server])
    found = list(stopped(document, {2: "S", 3: "T", 10: "S", 11: "T"}.__getitem__))
    assert [(finding.where, finding.do) for finding in found] == [
        ("forkserver default", "kill -CONT 3"),
        ("a/1", "kill -CONT 11"),
    ]


def test_dead_letters_that_wait():
    queues = [{"name": "a", "ready": 3}, {"name": "dlq.a", "ready": 1, "dead_letters": True}]
    (finding,) = dead_letters([*queues, {"name": "dlq.b", "ready": 0, "dead_letters": True}])
    assert (finding.where, finding.text) == ("dlq.a", "1 dead letter waiting")
    assert finding.do == "zocaloctl dlq list dlq.a"


def test_what_was_dropped_by_the_word_of_the_log():
    log = [
        {"id": "a/0", "level": 30, "text": "7 log messages dropped: too many at once"},
        {"id": "a/0", "level": 30, "text": "9 log messages dropped: too many at once"},
        {"id": "b/0", "level": 20, "text": "the sample was dropped"},
    ]
    (finding,) = dropped(log)
    assert finding.where == "a/0"
    assert "2 lines" in finding.text
    assert "9 log messages" in finding.text


def test_a_document_of_another_version():
    assert list(judge({}, "1.0"))
    assert list(judge({"services": [{"instances": [{}]}]}, "1.0"))
