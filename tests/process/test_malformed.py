"""Messages of every malformed kind to every service: dead letters with a reason, the service unharmed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon
from tests.mailkit import MailServer
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

MARK = {"workflows-recipe": "True"}
QUEUES = {"dispatcher": "processing_recipe", "jsonlines": "jsonlines", "mailer": "mailnotification"}
CYCLE = {"1": {"queue": "a", "output": 2}, "2": {"queue": "b", "output": 1}, "start": [[1, []]]}


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def envelope(**parts: Any) -> bytes:
    return text(
        {"recipe": {"1": {"queue": "q", "parameters": {}}}, "recipe-pointer": 1, "payload": {}, **parts}
    )


BODIES: list[bytes] = [
    *(b"", b"no JSON", b"\xff\xfe\x00", b"{", b"[" * 100_000, b'{"a":' * 50_000),
    *map(text, (None, 7, 1.5, True, "text", [], [1], {}, {"a": 1})),
    *map(
        text, ({"parameters": None}, {"parameters": []}, {"parameters": {}}, {"parameters": 7, "content": 7})
    ),
    text({"parameters": {"recipients": 7, "output_filename": [], "guid": {}}, "content": {}, "recipes": {}}),
    b'{"parameters": {"a": NaN, "b": Infinity, "recipients": [NaN]}, "content": "x"}',
]
ENVELOPES: list[bytes] = [
    *(b"", b"no JSON", b"\xff", b"[" * 100_000, *map(text, (None, 7, "text", [], {}))),
    *(text({"recipe": {}}), text({"recipe-pointer": 1}), envelope(recipe=None), envelope(recipe=[])),
    *(envelope(recipe="text"), envelope(recipe={}), envelope(recipe={"1": None}), envelope(recipe={"1": []})),
    *(envelope(**{"recipe-pointer": pointer}) for pointer in (None, 2, "1x", [], {})),
    *(envelope(environment=7), envelope(environment=[]), envelope(payload=None), envelope(payload=[])),
    *(envelope(recipe={"1": {"parameters": value}}) for value in (None, [], "text", {"output_filename": 5})),
]
REQUESTS: list[bytes] = [
    text({"custom_recipe": recipe, "parameters": {}})
    for recipe in (
        *(CYCLE, {"start": [[1, []]]}, {"1": {}, "start": [[1, []]]}, {"1": {"queue": "a"}}, "text", [1]),
        {"1": {"queue": "a", "output": 2}, "2": {"parameters": {}}, "start": [[1, []]]},
        {"1": {"queue": "a", "output": 7}, "start": [[1, []]]},
        {"1": {"queue": ["a"]}, "start": [[1, []]]},
        {"1": {"queue": "a"}, "start": "1"},
    )
]
LARGE = 50_000_000  # bytes


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Daemon, RelayTransport, MailServer, Path]]:
    """A daemon with all of our services, a script's transport, a mail server, and a directory."""
    directory = tmp_path_factory.mktemp("site")
    mail = MailServer().start()
    config = directory / "site.yaml"
    config.write_text(
        "version: 1\nenvironments: {default: [mail]}\n"
        f"mail: {{plugin: smtp, host: 127.0.0.1, port: {mail.port}, from: zocalo@example.com}}\n"
    )
    services: dict[str, Any] = {
        "dispatcher": {"class": "zocalo_daemon.services.dispatcher:Dispatcher"},
        "jsonlines": {"class": "zocalo_daemon.services.jsonlines:JSONLines"},
        "mailer": {"class": "zocalo_daemon.services.mailer:Mailer"},
        "quarantine": {
            "class": "zocalo_daemon.services.quarantine:Quarantine",
            "environment": {"max_deliveries": 2},
        },
    }
    d = Daemon(directory, services, site=str(config), relay={"clients": "user"})
    try:
        d.start()
        transport = RelayTransport()
        transport._socket_path = directory / "relay.sock"
        transport.connect()
        yield d, transport, mail, directory
        transport.disconnect()
    finally:
        d.close()
        mail.stop()


def ready(d: Daemon, name: str) -> tuple[int, int]:
    """Return pid and restarts."""
    one = d.instance(f"{name}/0")
    return one["pid"], one["restarts"]


def dead(d: Daemon, queue: str) -> int:
    queues = json.loads(d.ctl("--json", "queues").stdout)
    return next((one["ready"] for one in queues if one["name"] == f"dlq.{queue}"), 0)


def good(service: str, directory: Path, number: int) -> tuple[bytes, dict[str, Any]]:
    """Return a message that a service does something with, and its headers."""
    step = {"queue": "jsonlines", "parameters": {"output_filename": str(directory / f"{service}-{number}")}}
    if service == "dispatcher":
        return text({"custom_recipe": {"1": step, "start": [[1, {"ok": 1}]]}}), {}
    if service == "jsonlines":
        return envelope(recipe={"1": step}, payload={"ok": 1}), MARK
    return text({"parameters": {"recipient": "a@x.org", "subject": f"{number}"}, "content": "ok"}), {}


@pytest.mark.parametrize("service", QUEUES)
def test_every_kind_is_a_dead_letter_and_the_service_goes_on(site: Any, service: str) -> None:
    d, transport, _, _ = site
    before = ready(d, service)
    queue = QUEUES[service]
    bad = [(body, {}) for body in BODIES] + [(body, MARK) for body in ENVELOPES]
    bad += [(body, {}) for body in REQUESTS if service == "dispatcher"]
    for body, headers in bad:
        transport.raw_send(queue, body, headers=headers)
    wait_until(lambda: dead(d, queue) == len(bad), f"{len(bad)} dead letters")
    done(site, service, 1)
    assert ready(d, service) == before
    log = d.ctl("logs", "-n", "1000", service).stdout
    assert log.count("Rejected message: ") == len(bad)
    letters = json.loads(d.ctl("--json", "dlq", "list", f"dlq.{queue}").stdout)
    assert all(letter["reason"] in log and letter["reason"] != "rejected" for letter in letters)
    d.ctl("dlq", "purge", f"dlq.{queue}")


def done(site: Any, service: str, number: int) -> None:
    """Send a good message and wait for what comes of it."""
    _, transport, mail, directory = site
    body, headers = good(service, directory, number)
    transport.raw_send(QUEUES[service], body, headers=headers)
    if service == "mailer":
        wait_until(lambda: f"{number}" in mail.post.subjects)
    else:
        wait_until((directory / f"{service}-{number}").exists)


def test_fifty_megabytes_are_a_dead_letter(site: Any) -> None:
    d, transport, _, _ = site
    before = [ready(d, service) for service in QUEUES]
    parameters = {"recipient": "a@x.org", "content": "{payload}", "output_filename": 7}
    large = envelope(recipe={"1": {"parameters": parameters}}, payload="x" * LARGE)
    for queue in QUEUES.values():
        transport.raw_send(queue, large, headers=MARK)
    for service, queue in QUEUES.items():
        wait_until(lambda queue=queue: dead(d, queue) == 1, timeout=60, every=0.1)
        done(site, service, 2)
    assert [ready(d, service) for service in QUEUES] == before


def test_the_quarantine_takes_whatever_others_put_back(site: Any) -> None:
    d, transport, _, _ = site
    before = ready(d, "quarantine")
    number = transport.subscribe(
        "odd",
        lambda header, message: transport.nack(header, requeue=True),
        acknowledgement=True,
        disable_mangling=True,
        prefetch_count=100,
    )
    bad = {*((body, False) for body in BODIES), *((body, True) for body in ENVELOPES), (b"x" * LARGE, False)}
    for body, marked in bad:
        transport.raw_send("odd", body, headers=MARK if marked else {})
    wait_until(lambda: dead(d, "odd") == len(bad), timeout=60, every=0.1)
    transport.unsubscribe(number)
    assert ready(d, "quarantine") == before
    assert "delivered 2 times and never settled" in d.ctl("logs", "-n", "1000", "quarantine").stdout
