"""Mails from messages, and what the answers of a mail server mean."""

from __future__ import annotations

import smtplib
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from zocalo_daemon.services import mail
from zocalo_daemon.services.envelope import Rejected
from zocalo_daemon.services.mail import Mail, Verdict, judge, mail_of, reason_of, refusals_of, told


def made(parameters: Any = None, message: Any = "payload", **more: Any) -> Mail:
    """Return the mail of a recipe node with these parameters."""
    given = {"recipients": ["a@x"], "content": "text", **(parameters or {}), **more}
    return mail_of(SimpleNamespace(recipe_step={"parameters": given}), message, "zocalo@x")


def text(one: Mail) -> str:
    return one.message.get_content().strip()


@pytest.mark.parametrize(
    ("recipients", "addresses"),
    [
        ("a@x", ["a@x"]),
        ("a@x, b@x", ["a@x", "b@x"]),
        (["a@x", "Bea <b@x>", "a@x"], ["a@x", "b@x"]),
        ({"select": "mx", "mx": "a@x", "em": "b@x"}, ["a@x"]),
        ({"select": "mx", "mx": ["a@x", "b@x"], "all": ["c@x", "a@x"]}, ["a@x", "b@x", "c@x"]),
        ({"select": "none", "all": "c@x"}, ["c@x"]),
    ],
    ids=str,
)
def test_recipients(recipients: Any, addresses: list[str]) -> None:
    assert list(made(recipients=recipients).recipients) == addresses


def test_recipient_is_another_name_for_recipients() -> None:
    one = mail_of(None, {"parameters": {"recipient": "a@x"}, "content": "hello"}, "zocalo@x")
    assert (one.recipients, one.sender, one.message["Subject"]) == (("a@x",), "zocalo@x", mail.SUBJECT)


@pytest.mark.parametrize(
    ("content", "payload", "expected"),
    [
        ("as it is", 1, "as it is"),
        (["in ", "parts"], 1, "in parts"),
        ("{payload[a]} {other} {{x}}", {"a": 7}, "7 {other} {x}"),
        ("{pprint_payload}", ["one", "two"], "one\ntwo"),
        ("{pprint_payload}", ["one", 2], "['one', 2]"),
        ("{pprint_payload}", {"b": 1, "a": 2}, "{'a': 2, 'b': 1}"),
        ("ä€", None, "ä€"),
    ],
    ids=str,
)
def test_the_message_fills_the_content(content: Any, payload: Any, expected: str) -> None:
    assert text(made(content=content, message=payload)) == expected


BAD: dict[str, tuple[dict[str, Any], Any, str]] = {
    "no recipients": ({"recipients": []}, 1, "no recipients"),
    "recipients of a wrong kind": ({"recipients": 5}, 1, "recipient of a mail must be a text"),
    "a recipient of a wrong kind": ({"recipients": ["a@x", {}]}, 1, "an object"),
    "groups without select": ({"recipients": {"mx": "a@x"}}, 1, "select"),
    "an empty group": ({"recipients": {"select": "mx", "em": "a@x"}}, 1, "no recipients"),
    "no address": ({"recipients": "<>"}, 1, "none of its recipients"),
    "a recipient on two lines": ({"recipients": "a@x\nb@x"}, 1, "ValueError"),
    "no content": ({"content": ""}, 1, "no content"),
    "content of a wrong kind": ({"content": 5}, 1, "content of a mail must be a text"),
    "parts of a wrong kind": ({"content": ["a", 5]}, 1, "content of a mail must be a text"),
    "subject of a wrong kind": ({"subject": ["a"]}, 1, "subject of a mail must be a text"),
    "a subject on two lines": ({"subject": "a\nBcc: b@x"}, 1, "ValueError"),
    "from of a wrong kind": ({"from": None}, 1, "from of a mail must be a text"),
    "a field that is not there": ({"content": "{payload[a]}"}, {}, "KeyError"),
    "a field without a name": ({"content": "{}"}, {}, "ValueError"),
    "an open brace": ({"content": "{"}, {}, "ValueError"),
    "no text": ({"content": "\ud800"}, {}, "UnicodeEncodeError"),
    "a large payload": ({"content": "{pprint_payload}"}, "x" * 2**20, "too large"),
    "a large mail": ({"content": "{payload}"}, "x" * (mail.MOST_TEXT + 1), "characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_mail_is_rejected(name: str) -> None:
    parameters, payload, reason = BAD[name]
    with pytest.raises(Rejected, match=reason):
        made(parameters, message=payload)


@pytest.mark.parametrize(
    "message", [None, [], "x", b"\xff", 7, {}, {"parameters": []}, {"parameters": None}], ids=str
)
def test_a_message_without_a_recipe_must_say_all(message: Any) -> None:
    with pytest.raises(Rejected):
        mail_of(None, message, "zocalo@x")


@pytest.mark.parametrize("step", [{}, {"parameters": None}, {"parameters": []}], ids=str)
def test_so_must_a_recipe(step: Any) -> None:
    with pytest.raises(Rejected, match="parameters"):
        mail_of(SimpleNamespace(recipe_step=step), {}, "zocalo@x")


def test_a_message_nested_too_deep_is_rejected() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Rejected, match="too deep"):
        made(content="{payload}", message=deep)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (421, Verdict.AWAY),
        (450, Verdict.LATER),
        (452, Verdict.LATER),
        (550, Verdict.NEVER),
        (600, Verdict.NEVER),
    ],
)
def test_what_a_code_means(code: int, verdict: Verdict) -> None:
    assert judge(code) is verdict


def test_what_an_error_says_of_the_recipients() -> None:
    one = made(recipients=["a@x", "b@x"])
    refused = {"a@x": (550, b"no")}
    assert refusals_of(smtplib.SMTPRecipientsRefused(refused), one) == refused
    both = dict.fromkeys(["a@x", "b@x"], (552, b"too\r\nlarge"))
    assert refusals_of(smtplib.SMTPDataError(552, b"too\r\nlarge"), one) == both
    assert refusals_of(smtplib.SMTPSenderRefused(552, b"too\r\nlarge", "me"), one) == both
    assert refusals_of(smtplib.SMTPNotSupportedError("no SMTPUTF8"), one) is not None
    assert refusals_of(smtplib.SMTPServerDisconnected("gone"), one) is None
    assert refusals_of(TimeoutError(), one) is None
    assert told(both) == "a@x: 552 too large; b@x: 552 too large"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (smtplib.SMTPConnectError(554, b"no\r\nservice"), "554 no service"),
        (smtplib.SMTPServerDisconnected("Connection unexpectedly closed"), "Connection unexpectedly closed"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=str,
)
def test_why_a_server_is_away(error: OSError, reason: str) -> None:
    assert reason_of(error) == reason


def test_a_mail_for_some_of_its_recipients_still_names_all() -> None:
    one = made(recipients=["a@x", "b@x"]).only(["b@x", 5])
    assert one.recipients == ("b@x",)
    assert one.message["To"] == "a@x, b@x"
