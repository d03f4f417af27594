"""zocalo's services and workflows' samples, unmodified, as workers of the daemon, on every driver.

compatibility.md, 1: the row `services`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.beside.conftest import DRIVERS
from tests.beside.site import Site
from tests.daemonkit import Daemon
from tests.mailkit import MailServer
from tests.waiting import wait_until

THEIRS = {
    "dispatcher": {"class": "zocalo.service.dispatcher:Dispatcher"},
    "jsonlines": {"class": "zocalo.service.jsonlines:JSONLines"},
    "mailer": {"class": "zocalo.service.mailer:Mailer"},
}
SAMPLES = {
    name.lower(): {"class": name} for name in ("SampleProducer", "SampleConsumer", "SampleTxnProducer")
}
SAMPLES["sampletxn"] = {
    "class": "SampleTxn",
    "max_crashes": 100,
    "restart": {"backoff": "10ms", "limit": 100},
}
SAMPLES["pipe"] = {"class": "SamplePipethrough", "instances": 0}
START = {"text": "hello", "x": 1}
RECIPE = {
    "1": {
        "queue": "jsonlines",
        "parameters": {"output_filename": "{directory}/{guid}.jsonl", "exclude": ["x"]},
    },
    "2": {
        "queue": "mailnotification",
        "parameters": {
            "recipients": ["a@example.com"],
            "subject": "{guid}",
            "content": "Said {payload[text]}",
        },
    },
    "start": [[1, START], [2, START]],
}


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def dead(d: Daemon) -> list[str]:
    return [letter["queue"] for letter in json.loads(d.ctl("--json", "dlq", "list").stdout)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_zocalo_services(
    of_site: Callable[..., Daemon], site: Site, mail: MailServer, tmp_path: Path, driver: str
) -> None:
    (site.recipes / "both.json").write_text(json.dumps(RECIPE))
    d = of_site(THEIRS, driver)
    for number in range(5):
        parameters = {"directory": str(tmp_path), "guid": f"{driver}-{number}"}
        d.ctl("go", "-r", "both", "-n", *(w for k, v in parameters.items() for w in ("-s", f"{k}={v}")))
    d.ctl("send", "processing_recipe", '{"recipes": ["both"], "parameters": []}')
    d.ctl("send", "mailnotification", '{"parameters": {"recipients": "b@example.com"}}')
    for number in range(5):
        wait_until(lambda n=number: lines(tmp_path / f"{driver}-{n}.jsonl"))
        assert lines(tmp_path / f"{driver}-{number}.jsonl") == [{"text": "hello"}]
        (entry,) = site.logbook.glob(f"*/{driver[:2]}/{driver[2:]}-{number}")
        assert '"recipes"' in entry.read_text()
    expected = {f"{driver}-{number}" for number in range(5)}
    wait_until(lambda: expected <= set(mail.post.subjects), "five mails")
    (said,) = [m for to, m in mail.post.taken if m["Subject"] == f"{driver}-0" and to == ["a@example.com"]]
    assert said.get_content().strip() == "Said hello"
    wait_until(lambda: sorted(dead(d)) == ["dlq.mailnotification", "dlq.processing_recipe"])
    assert {one["restarts"] for one in d.instances().values()} == {0}
    d.ctl("dlq", "purge", "--yes", "--discard")
    assert d.stop() == 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_samples_of_workflows(of_site: Callable[..., Daemon], tmp_path: Path, driver: str) -> None:
    end = {"class": "trial:Recorder", "environment": {"queue": "out.any", "file": str(tmp_path / "piped")}}
    d = of_site({**SAMPLES, "end": end}, driver)
    for number in range(5):
        d.ctl("send", "transient.transaction", f'"by hand {number}"')

    def consumed() -> str:
        return d.ctl("logs", "-n", "1000", "sampleconsumer").stdout

    def all_is_here() -> bool:
        log = consumed()
        produced = "\nMessage #1" in log or "Message #1\n" in log
        if produced and "TXMessage #1" in log and all(f"by hand {number}" in log for number in range(5)):
            return True
        # It aborts one transaction in four and keeps the message: its death brings that back.
        if d.instance("sampletxn/0")["in_flight"]:
            d.kill("sampletxn/0")
            d.wait_ready()
        return False

    wait_until(all_is_here, "every message", timeout=60, every=0.2)
    d.ctl("stop", *(name for name in SAMPLES if name != "pipe"))
    d.ctl("scale", "pipe=1")
    recipe = {
        "1": {"queue": "transient.destination", "output": 2},
        "2": {"queue": "out.any"},
        "start": [[1, []]],
    }
    envelope = {"recipe": recipe, "recipe-pointer": 1, "environment": {"ID": "r"}, "payload": "hello"}
    d.ctl("send", "transient.destination", json.dumps(envelope), "--header", "workflows-recipe=True")
    wait_until((tmp_path / "piped").exists, "what went through the pipe")
