"""The services of the status document."""

from __future__ import annotations

import json
from pathlib import Path

from tests.rosterkit import CRASH, KILLED, OK, Script, service, serving
from zocalo_daemon.config.schema import ControlConfig, DaemonConfig, TransportConfig
from zocalo_daemon.control import report
from zocalo_daemon.supervision.figures import Figures


def status(script, names=None, figures=None):
    figures = figures or Figures(lambda: 0.0)
    names = list(script.roster.services) if names is None else names
    documents = report.services(script.roster, names, figures, script.now, {"spot/0": 7})
    assert json.loads(json.dumps(documents)) == documents
    return documents


def test_an_instance_that_serves():
    script = serving(service(runtime="dials"))
    script.later(3.04)
    figures = Figures(lambda: 0.0)
    figures.watch(101)
    figures.relay_reports({"101": {"processed": 12, "in_flight": 1}}, [])
    assert status(script, figures=figures) == [
        {
            "name": "spot",
            "class": "Class",
            "wanted": 1,
            "state": "ready",
            "reason": None,
            "runtime": "dials",
            "instances": [
                {
                    "id": "spot/0",
                    "pid": 101,
                    "state": "ready",
                    "beside": [],
                    "uptime_s": 3.0,
                    "restarts": 0,
                    "last_exit": None,
                    "stalled": False,
                    "reason": None,
                    "next_start_s": None,
                    "processed": 12,
                    "in_flight": 1,
                    "rss_bytes": 0,
                    "pss_bytes": 0,
                    "cpu_s": 0.0,
                    "last_crash": 7,
                }
            ],
        }
    ]


def test_only_the_services_that_were_asked_for():
    script = serving(service("a"), service("b"))
    assert [document["name"] for document in status(script, ["b"])] == ["b"]


def test_an_instance_that_waits():
    script = Script(service(backoff=30))
    script.forked(1)
    script.exited(1, CRASH, "no disk")
    script.later(5)
    (document,) = status(script)
    (instance,) = document["instances"]
    assert (document["state"], document["reason"]) == ("backoff", "exit status 1: no disk")
    assert (instance["pid"], instance["uptime_s"], instance["restarts"]) == (None, 0.0, 1)
    assert (instance["next_start_s"], instance["last_exit"]) == (17.5, "exit status 1: no disk")


def test_the_worst_wanted_instance_counts():
    script = serving(service(instances=3, limit=0))
    script.down("spot/2")
    (document,) = status(script)
    assert (document["state"], document["wanted"]) == ("ready", 2)
    script.exited(3, OK)
    assert status(script)[0]["state"] == "ready"
    script.exited(1, KILLED)
    (document,) = status(script)
    assert document["state"] == "failed"
    assert "signal SIGKILL" in document["reason"]


def test_a_service_of_which_nothing_is_wanted():
    script = serving(service(instances=2), service("none", 0))
    script.down("spot/0", "spot/1")
    script.exited(1, OK)
    assert [document["state"] for document in status(script)] == ["draining", "stopped"]
    script.exited(2, OK)
    assert status(script)[0]["state"] == "stopped"
    assert status(script)[0]["wanted"] == 0


def test_what_somebody_has_stopped_says_who():
    script = serving(service())
    script.roster.down(["spot/0"], script.now, "by root (zocaloctl, pid 9) at noon")
    (document,) = status(script)
    assert document["instances"][0]["reason"] == "by root (zocaloctl, pid 9) at noon"
    script.exited(1, OK)
    (document,) = status(script)
    assert (document["state"], document["reason"]) == ("stopped", "by root (zocaloctl, pid 9) at noon")
    script.up("spot/0")
    assert status(script)[0]["instances"][0]["reason"] is None


def test_a_service_that_was_scaled_says_so():
    script = serving(service(instances=2))
    script.scale("spot", 1)
    assert status(script)[0]["reason"] == "scaled to 1, the configuration says 2"
    script.scale("spot", 2)
    assert status(script)[0]["reason"] is None


def test_workers_beside_the_one_that_counts():
    script = serving(service())
    script.renew("spot/0")
    assert status(script)[0]["instances"][0]["beside"] == [{"pid": None, "state": "starting"}]
    script.ready(2)
    (instance,) = status(script)[0]["instances"]
    assert (instance["pid"], instance["beside"]) == (102, [{"pid": 101, "state": "draining"}])


def test_a_worker_that_was_kept_says_why():
    script = serving(service())
    script.renew("spot/0")
    script.exited(2)
    (document,) = status(script)
    assert document["state"] == "ready"
    assert "did not become ready" in document["reason"]
    assert "did not become ready" in document["instances"][0]["reason"]


def test_transports_of_which_the_relay_has_said_nothing_yet():
    pool = {name: TransportConfig(name) for name in ("local", "other")}
    config = DaemonConfig(Path("/state"), ControlConfig(Path("/socket")), pool, "local", {}, {})
    figures = Figures(lambda: 0.0)
    told = {"name": "other", "driver": "embedded", "state": "connected", "unsettled": 3, "next_attempt": 12.3}
    figures.relay_reports({}, [told, {"name": "gone"}])
    unknown, known = report.transports(config, figures, "starting", "", 10.0)
    assert (unknown["name"], unknown["state"], unknown["unsettled"]) == ("local", "starting", 0)
    assert known == {
        "name": "other", "driver": "embedded", "state": "connected", "unsettled": 3, "next_attempt_s": 2.3
    }  # fmt: skip
    assert unknown["next_attempt_s"] is unknown["since"] is None
    of_both = report.transports(config, figures, "stopped", "its database is damaged", 0.0)
    assert [one["detail"] for one in of_both] == ["its database is damaged"] * 2
