"""Where the log of the real daemon goes: the journal with fields, JSON lines, a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon
from tests.journalkit import JournalStandIn
from tests.waiting import wait_until

TALKER = {"talker": {"class": "talking:Talker"}}


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[JournalStandIn]:
    made = JournalStandIn(tmp_path / "journal")
    yield made
    made.close()


def under_systemd(d: Daemon, journald: JournalStandIn) -> dict[str, str]:
    """Return the environment of a unit whose standard error is the journal's stream."""
    stream = d.directory / "stderr"
    stream.touch()
    about = stream.stat()
    return {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}", "ZOCALOD_JOURNAL": str(journald.path)}


def talk(d: Daemon, text: str, level: int = 20, **more: Any) -> None:
    d.ctl("send", "talk", json.dumps({"text": text, "level": level, **more}))


def entry(journald: JournalStandIn, message: str) -> dict[str, str]:
    """Return the one entry whose message contains a text, once it is there."""

    def found() -> list[dict[str, str]]:
        return [one for one in journald.read() if message in one["MESSAGE"]]

    wait_until(found)
    (one,) = found()
    return one


def test_the_journal_gets_fields(daemon: Any, journald: JournalStandIn) -> None:
    d = daemon(TALKER)
    d.start(env=under_systemd(d, journald))
    talk(d, "two\nlines", 30, recipe="r-7")
    talk(d, "broken", fail="key")
    told = entry(journald, "two")
    assert told["MESSAGE"] == "talker/0: two\nlines"
    assert told["PRIORITY"] == "4"
    assert (told["ZOCALO_SERVICE"], told["ZOCALO_INSTANCE"]) == ("talker", "talker/0")
    assert (told["ZOCALO_RECIPE_ID"], told["LOGGER"]) == ("r-7", "site.talker")
    assert told["CODE_FILE"].endswith("talking.py") and told["CODE_FUNC"] == "talk"
    assert int(told["CODE_LINE"]) > 0
    assert (told["WORKFLOWS_SERVICE"], told["WORKFLOWS_SERVICECLASS"]) == ("Talker", "Talker")
    assert told["WORKFLOWS_HOST"].endswith(f".{d.instance('talker/0')['pid']}")
    assert "KeyError: 'key'" in entry(journald, "broken")["MESSAGE"]
    d.kill("talker/0")
    died = entry(journald, "talker/0 exited")
    assert (died["ZOCALO_SOURCE"], died["ZOCALO_SERVICE"]) == ("zocalod", "talker")
    assert d.stderr() == ""
    lines = json.loads(d.ctl("--json", "logs", "talker", "-n", "9").stdout)
    assert [(line["text"], line["fields"]) for line in lines if "two" in line["text"]] == [
        ("[r-7] two", {"recipe_ID": "r-7"})
    ]


def test_replaced_code_goes_on_in_the_journal(daemon: Any, journald: JournalStandIn) -> None:
    d = daemon(TALKER)
    d.start(env=under_systemd(d, journald))
    d.ctl("reexec")
    talk(d, "after it")
    assert entry(journald, "after it")["ZOCALO_SERVICE"] == "talker"
    assert d.stop() == 0
    assert entry(journald, "has stopped")["SYSLOG_IDENTIFIER"] == "zocalod"


def test_a_journal_that_does_not_read_holds_up_nobody(daemon: Any, journald: JournalStandIn) -> None:
    d = daemon(TALKER)
    d.start(env=under_systemd(d, journald))
    done = d.directory / "done"
    talk(d, "flood", times=1000, done=str(done))
    wait_until(done.exists)
    assert d.instance("talker/0")["state"] == "ready"
    talk(d, "last", recipe="last")
    wait_until(lambda: "[last] last" in d.ctl("logs", "talker").stdout)
    assert len(journald.read()) < 1000
    talk(d, "it reads again")
    assert "messages dropped here" in entry(journald, "messages dropped here")["MESSAGE"]


def test_json_lines_in_a_file_of_its_own(daemon: Any, tmp_path: Path) -> None:
    log, moved = tmp_path / "log", tmp_path / "log.1"
    d = daemon(TALKER, log={"format": "json", "file": str(log)}).start()
    talk(d, "one", recipe="r-1")
    wait_until(lambda: '"one"' in log.read_text())
    told = [json.loads(line) for line in log.read_text().splitlines()]
    one = next(line for line in told if line["message"] == "one")
    assert (one["service"], one["recipe_ID"], one["level"]) == ("talker", "r-1", "INFO")
    assert told[0]["source"] == "zocalod"
    log.rename(moved)
    talk(d, "two")
    wait_until(lambda: log.exists() and '"two"' in log.read_text())
    d.configure(TALKER, log={"format": "text"})
    d.ctl("reload")
    talk(d, "three")
    wait_until(lambda: "talker/0: [r-1] three" in d.stderr())
    assert "three" not in log.read_text()
    assert os.access(moved, os.R_OK)


def test_a_password_in_a_field_is_shown_to_nobody(daemon: Any, journald: JournalStandIn) -> None:
    d = daemon(TALKER)
    d.start(env=under_systemd(d, journald))
    talk(d, "who", extra={"password": "geheim", "user": b"x".decode()})
    told = entry(journald, "who")
    assert (told["ZOCALO_PASSWORD"], told["ZOCALO_USER"]) == ("***", "x")
