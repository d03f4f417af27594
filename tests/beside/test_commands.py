"""zocalo's commands against the daemon, and ours against zocalo's services, on one RabbitMQ.

compatibility.md, 1: the rows `zocalo.go`, `zocalo.wrap` and `zocalo.dlq_check, dlq_purge, dlq_reinject`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.beside.site import Plain, Site
from tests.beside.test_processes import cluster
from tests.beside.test_services import RECIPE as BOTH
from tests.beside.test_services import THEIRS, lines
from tests.daemonkit import Daemon
from tests.waiting import wait_until

OURS = {"dispatcher": {"class": "Dispatcher"}, "jsonlines": {"class": "JSONLines"}}
RECIPE = {"1": BOTH["1"], "start": [[1, {"text": "hello"}]]}
LETTER = {"n": [1, 2.5, None, "ü"]}
WRAPPERS = """\
from zocalo.wrapper import BaseWrapper


class Theirs(BaseWrapper):
    def run(self):
        self.update({"done": 0.5})
        self.record_result_individual_file({"file_name": "a.h5"})
        return True
"""


def test_zocalo_go_submits_to_our_dispatcher(
    of_site: Callable[..., Daemon], site: Site, tmp_path: Path
) -> None:
    (site.recipes / "go.json").write_text(json.dumps(RECIPE))
    d = of_site(OURS)
    options = ("-r", "go", "-s", f"directory={tmp_path}")
    site.run("zocalo.go", *options, "-s", "guid=named", "17", check=True)
    custom = tmp_path / "custom.json"
    custom.write_text(json.dumps(RECIPE))
    site.run(
        "zocalo.go", "-f", str(custom), "-n", "-s", f"directory={tmp_path}", "-s", "guid=custom", check=True
    )
    site.run("zocalo.go", *options, "-s", "guid=dropped", "--drop", "18", check=True)
    site.run("zocalo.pickup", "-w", "0", "-d", "0", check=True)
    site.run("zocalo.go", *options, "-s", "guid=again", "--drop", "19", check=True)
    d.ctl("pickup", "-w", "0", "-d", "0", "--location", str(site.dropped))
    for guid in ("named", "custom", "dropped", "again"):
        wait_until(lambda guid=guid: lines(tmp_path / f"{guid}.jsonl"), guid)
        assert lines(tmp_path / f"{guid}.jsonl") == [{"text": "hello"}]
    (entry,) = site.logbook.glob("*/na/med")
    assert '"ispyb_dcid": 17' in entry.read_text() and '"zocalo.go.host"' in entry.read_text()
    assert not list(site.dropped.iterdir())


@pytest.fixture
def step(site: Site, tmp_path: Path) -> str:
    """The recipe wrapper file of a step whose outputs are recorded, and a job that zocalo.wrap finds."""
    about = site.directory / "site-1.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: site\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[zocalo.wrappers]\nof_site = sitejobs:Theirs\n")
    (site.directory / "sitejobs.py").write_text(WRAPPERS)
    texts, maps = ("starting", "success", "completed"), ("updates", "result-individual-file")
    outputs = (*texts, *maps)
    recipe: dict[str, Any] = {}
    for number, name in enumerate(outputs, 2):  # a line of a file is a map
        written = {"queue": "jsonlines", "parameters": {"output_filename": str(tmp_path / f"{name}.jsonl")}}
        recipe[str(number)] = written if name in maps else {"queue": "out.any"}
    step = {"queue": "cluster", "output": {name: number for number, name in enumerate(outputs, 2)}}
    message = {
        "recipe": {"1": step, "start": [[1, {}]], **recipe},
        "recipe-pointer": 1,
        "recipe-path": [],
        "environment": {"ID": "0123-recipe"},
        "payload": {},
    }
    file = tmp_path / "step.json"
    file.write_text(json.dumps(message))
    return str(file)


@pytest.mark.parametrize(("program", "services"), [("zocalo.wrap", OURS), ("zocaloctl", THEIRS)])
def test_a_wrapped_job_of_one_side_tells_services_of_the_other(
    of_site: Callable[..., Daemon], site: Site, step: str, tmp_path: Path, program: str, services: Any
) -> None:
    end = {
        "class": "trial:Recorder",
        "environment": {"queue": "out.any", "file": str(tmp_path / "texts")},
    }
    of_site({"jsonlines": services["jsonlines"], "end": end})
    command = ["wrap"] if program == "zocaloctl" else []
    more = {
        "ZOCALO_RELAY_SOCKET": "/nonexistent"
    }  # so that ours uses the site's broker, as on a cluster node
    site.run(program, *command, "--wrap", "of_site", "--recipewrapper", step, check=True, **more)
    wait_until(lambda: lines(tmp_path / "result-individual-file.jsonl"))
    assert lines(tmp_path / "updates.jsonl") == [{"done": 0.5}]
    texts = tmp_path / "texts"
    wait_until(lambda: texts.exists() and len(texts.read_text().splitlines()) == 3, "the other outputs")
    said = [json.loads(line.replace("'", '"')) for line in texts.read_text().splitlines()]
    assert [one["payload"] for one in said] == ["Starting processing", *["Finished processing"] * 2]


@pytest.mark.parametrize("driver", ["rabbitmq", "activemq"])
def test_dead_letters_make_the_round_through_the_tools_of_both(
    of_site: Callable[..., Daemon], site: Site, tmp_path: Path, driver: str
) -> None:
    d = of_site({"rejecter": {"class": "trial:Rejecter"}}, driver)
    transport, theirs = (
        (("-t", "PikaTransport"), "reject")
        if driver == "rabbitmq"
        else (("-t", "StompTransport"), "zocalo.reject")
    )
    environment = {"ZOCALO_DEFAULT_ENV": driver}
    d.ctl("send", "reject", json.dumps(LETTER), "--header", "k=v")

    def waiting() -> int:
        return len(json.loads(d.ctl("--json", "dlq", "list", "reject").stdout))

    wait_until(lambda: waiting() == 1, "the dead letter")
    if driver == "rabbitmq":  # the other broker tells it by JMX, which Debian's has not
        wait_until(lambda: site.run("zocalo.dlq_check").returncode == 1, "the broker's statistics")
        assert "DLQ for reject contains 1 entries\n" in site.run("zocalo.dlq_check").stdout
    # Theirs writes, ours reads.
    place = str(tmp_path / "theirs")
    purged = site.run("zocalo.dlq_purge", *transport, "--location", place, theirs, check=True, **environment)
    (file,) = (tmp_path / "theirs").rglob("msg-*")
    assert str(file) in purged.stdout and waiting() == 0
    d.ctl("stop", "rejecter")
    back = d.ctl("dlq", "reinject", "--remove", str(file))
    assert not file.exists(), back.stdout
    d.ctl("start", "rejecter")
    wait_until(lambda: waiting() == 1, "the same dead letter")
    (letter,) = json.loads(d.ctl("--json", "dlq", "list", "reject").stdout)
    assert json.loads(letter["body"]) == LETTER
    assert (letter["headers"]["k"], str(letter["headers"]["dlq-reinjected"])) == ("v", "True")
    if driver == "activemq":  # theirs needs the header `destination`, which what is in our files has not
        d.ctl("dlq", "purge", "reject", "--discard")
        return
    # Ours writes, theirs reads.
    d.ctl("dlq", "purge", "reject", "--location", str(tmp_path / "ours"))
    (file,) = (tmp_path / "ours").rglob("msg-*")
    assert waiting() == 0
    site.run("zocalo.dlq_reinject", *transport, "--remove", str(file), check=True, **environment)
    assert not file.exists()
    wait_until(lambda: waiting() == 1, "the same dead letter")
    (letter,) = json.loads(d.ctl("--json", "dlq", "list", "reject").stdout)
    assert json.loads(letter["body"]) == LETTER
    assert (letter["headers"]["k"], letter["headers"]["dlq-reinjected"]) == ("v", "True")
    d.ctl("dlq", "purge", "reject", "--discard")


def test_the_environment_of_zocalo_commands_may_hold_ours(site: Site) -> None:
    """RelayTransport is an entry point of workflows.transport, which every command of zocalo loads."""
    done = site.run("zocalo.shutdown", "-?", check=True)
    assert "RelayTransport" in done.stdout and not done.stderr
    services = site.run("zocalo.service", "-?", check=True).stdout
    assert "Dispatcher" in services and "Quarantine" not in services
    assert "--wrap" in site.run("zocalo.wrap", "-?", check=True).stdout


def test_programs_of_zocalo_reach_the_embedded_broker_by_our_transport(
    of_site: Callable[..., Daemon], plain: Callable[..., Plain], site: Site, tmp_path: Path
) -> None:
    """RelayTransport is one of workflows.transport: a machine without a broker needs nothing else."""
    d = of_site(OURS, "embedded", relay={"clients": "user"})
    more = {"ZOCALO_DEFAULT_ENV": "embedded", "ZOCALO_RELAY_SOCKET": str(d.socket.with_name("relay.sock"))}
    (site.recipes / "relayed.json").write_text(
        json.dumps({"1": {"queue": "transient.destination"}, "start": [[1, "hello"]]})
    )
    by_ours = ("-t", "RelayTransport")
    consumer = plain("zocalo.service", "-s", "SampleConsumer", *by_ours, **more)
    site.run("zocalo.go", *by_ours, "-r", "relayed", "-n", check=True, **more)
    consumer.wait_for("hello")
    heard = wait_until(lambda: [s for s in cluster(d) if s["service"] == "Message Consumer"], "its status")
    site.run("zocalo.shutdown", *by_ours, "-s", "SampleConsumer", check=True, **more)
    assert consumer.wait() == 0 and heard
