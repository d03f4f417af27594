"""Mailer in the real daemon, with a real mail server (compatibility.md, 1: services; plugin smtp)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon
from tests.mailkit import LATER, NEVER, MailServer
from tests.waiting import wait_until

SITE = """\
version: 1
environments: {default: [mail]}
mail: {plugin: smtp, host: 127.0.0.1, port: PORT, from: zocalo@example.com}
"""
Start = Callable[..., Daemon]


@pytest.fixture
def server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.stop()


@pytest.fixture
def start(daemon: Any, server: MailServer, tmp_path: Path) -> Start:
    """Return a function that starts a daemon with a Mailer."""

    def start(**service: Any) -> Daemon:
        site = tmp_path / "site.yaml"
        site.write_text(SITE.replace("PORT", str(server.port)))
        return daemon(
            {"mailer": {"class": "zocalo_daemon.services.mailer:Mailer", **service}}, site=str(site)
        ).start()

    return start


def send(d: Daemon, subject: str, recipients: Any = "a@example.com", content: str = "Hello") -> None:
    parameters = {"recipients": recipients, "subject": subject}
    d.ctl("send", "mailnotification", json.dumps({"parameters": parameters, "content": content}))


def queue(d: Daemon) -> dict[str, Any]:
    queues = json.loads(d.ctl("--json", "queues").stdout)
    return next((one for one in queues if one["name"] == "mailnotification"), {})


def log(d: Daemon) -> str:
    return d.ctl("logs", "mailer").stdout


def settled(d: Daemon) -> bool:
    state = queue(d)
    return not (state["ready"] or state["delayed"] or state["unsettled"])


def test_a_mail_of_a_message_and_one_of_a_recipe(start: Start, server: MailServer) -> None:
    server.start()
    d = start()
    send(d, "plain", ["a@example.com", "B <b@example.com>"], "Got {payload[content]!r}, {unknown}")
    step = {
        "queue": "mailnotification",
        "parameters": {"recipient": "c@example.com", "from": "me@example.com", "content": ["{payload}", "!"]},
    }
    envelope = {"recipe": {"1": step, "start": [[1, []]]}, "recipe-pointer": 1, "environment": {"ID": "r-1"}}
    message = json.dumps({**envelope, "payload": "done"})
    d.ctl("send", "mailnotification", message, "--header", "workflows-recipe=True")
    wait_until(lambda: len(server.post.taken) == 2)
    (to, plain), (to_of_recipe, mail) = server.post.taken
    assert to == ["a@example.com", "b@example.com"]
    assert (plain["From"], plain["To"]) == ("zocalo@example.com", "a@example.com, B <b@example.com>")
    assert plain.get_content().strip() == "Got 'Got {payload[content]!r}, {unknown}', {unknown}"
    assert to_of_recipe == ["c@example.com"]
    assert (mail["Subject"], mail["From"]) == ("mail notification via zocalo", "me@example.com")
    assert mail.get_content().strip() == "done!"
    wait_until(lambda: settled(d))


def test_mails_wait_while_the_server_is_away(start: Start, server: MailServer) -> None:
    d = start()
    for n in range(5):
        send(d, f"mail {n}")
    wait_until(lambda: "is away" in log(d))
    server.start()
    wait_until(lambda: len(server.post.taken) == 5)
    assert sorted(server.post.subjects) == [f"mail {n}" for n in range(5)]
    wait_until(lambda: settled(d))
    lines = log(d)
    assert lines.count("is away (Connection refused)") == 1
    assert f"Mail server 127.0.0.1:{server.port} is back" in lines
    assert "dlq.mailnotification" not in d.ctl("queues").stdout


def test_a_server_that_sends_everybody_away_is_away(start: Start, server: MailServer) -> None:
    server.post.answer = "421 4.3.2 going down"
    server.start()
    d = start()
    send(d, "one")
    wait_until(lambda: server.post.attempts >= 2)
    server.post.answer = ""
    wait_until(lambda: server.post.subjects == ["one"])
    assert log(d).count("is away (") == 1


def test_what_is_held_outlives_the_worker(start: Start, server: MailServer) -> None:
    d = start()
    send(d, "one")
    wait_until(lambda: "is away" in log(d))
    d.kill("mailer/0")
    d.wait_ready()
    d.ctl("restart", "mailer")
    server.start()
    wait_until(lambda: server.post.subjects == ["one"])
    wait_until(lambda: settled(d))


def test_only_who_was_refused_for_now_gets_it_later(start: Start, server: MailServer) -> None:
    server.post.refused = {"later@example.com": [LATER, LATER], "never@example.com": [NEVER]}
    server.start()
    d = start(**{"class": "mailing:Mailer"})
    send(d, "one", ["a@example.com", "later@example.com", "never@example.com"])
    wait_until(lambda: len(server.post.taken) == 2)
    assert [to for to, _ in server.post.taken] == [["a@example.com"], ["later@example.com"]]
    assert all(mail["To"].count("@") == 3 for _, mail in server.post.taken)
    wait_until(lambda: settled(d))
    assert "later@example.com: 451 4.7.1 try again later" in log(d)
    assert "never@example.com: 550 5.1.1 no such user" in log(d)


def test_what_is_no_mail_is_a_dead_letter(start: Start, server: MailServer) -> None:
    server.post.refused = {"never@example.com": [NEVER]}
    server.start()
    d = start()
    pid = d.instance("mailer/0")["pid"]
    for message in ("[]", "{}", '"text"', '{"parameters": {}, "content": "x"}'):
        d.ctl("send", "mailnotification", message)
    d.ctl("send", "mailnotification", "[]", "--header", "workflows-recipe=True")
    send(d, "one", "never@example.com")
    send(d, "two\nBcc: x@example.com")
    send(d, "three")
    wait_until(lambda: server.post.subjects == ["three"])
    letters = json.loads(d.ctl("--json", "dlq", "list").stdout)
    assert [letter["queue"] for letter in letters] == ["dlq.mailnotification"] * 7
    assert d.instance("mailer/0")["pid"] == pid
    assert "the mail server does not take the mail: never@example.com: 550" in log(d)


def test_without_a_mail_server_in_the_site_configuration_it_says_so(daemon: Any) -> None:
    d = daemon(
        {"mailer": {"class": "zocalo_daemon.services.mailer:Mailer", "restart": {"policy": "never"}}}
    ).start(ready=False)
    wait_until(lambda: "the Mailer needs the plugin smtp" in d.ctl("logs", "mailer", check=False).stdout)
