"""The service Quarantine in the real daemon (compatibility.md, 1: services, Schlockmeister)."""

from __future__ import annotations

import json
from typing import Any

from tests.waiting import wait_until

QUARANTINE = {
    "class": "zocalo_daemon.services.quarantine:Quarantine",
    "environment": {"max_deliveries": 2},
}


def test_a_message_that_services_die_of_is_taken_out_of_its_queue(daemon: Any) -> None:
    mortal = {"class": "mortal:Mortal", "max_crashes": 100, "restart": {"backoff": "10ms"}}
    d = daemon({"quarantine": QUARANTINE, "mortal": mortal}).start()
    pid = d.instance("quarantine/0")["pid"]
    d.ctl("send", "mortal", '"kill"')
    wait_until(lambda: "dlq.mortal" in d.ctl("dlq", "list").stdout)
    d.wait_ready()
    (letter,) = json.loads(d.ctl("--json", "dlq", "list").stdout)
    assert letter["queue"] == "dlq.mortal"
    assert letter["reason"] == "delivered 2 times and never settled"
    assert d.instance("mortal/0")["restarts"] == 2
    wait_until(lambda: d.instance("quarantine/0")["processed"] == 1)
    assert d.instance("quarantine/0")["pid"] == pid
    log = d.ctl("logs", "quarantine").stdout
    assert "Quarantined a message of queue mortal: delivered 2 times and never settled" in log
    assert 'message: "kill"' in log


def test_a_limit_that_is_none_is_told(daemon: Any) -> None:
    service = {**QUARANTINE, "environment": {"max_deliveries": 0}, "restart": {"policy": "never"}}
    d = daemon({"quarantine": service}).start(ready=False)
    wait_until(lambda: "max_deliveries must be" in d.ctl("logs", "quarantine", check=False).stdout)
