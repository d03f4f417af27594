"""Mails: made from messages, and what an answer of a mail server means (no I/O)."""

from __future__ import annotations

import enum
import json
import pprint
import smtplib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from email.message import EmailMessage
from email.utils import getaddresses, localtime
from typing import Any

from zocalo_daemon.services.envelope import Rejected, kind

SUBJECT = "mail notification via zocalo"
MOST_TEXT = 10 * 1024 * 1024  # characters; mail servers take no more
MOST_PRINTED = 1024 * 1024  # characters of JSON that are laid out for people: that takes a second

Refusals = Mapping[str, tuple[int, bytes | str]]  # by recipient: code and text of the server


@dataclass(frozen=True)
class Mail:
    """A mail; `recipients` are the addresses that it is still to be sent to."""

    message: EmailMessage
    sender: str
    recipients: tuple[str, ...]

    def only(self, addresses: Collection[Any]) -> Mail:
        """Return the same mail for those of its recipients that are among `addresses`."""
        return replace(self, recipients=tuple(one for one in self.recipients if one in addresses))


def mail_of(wrapper: Any, message: Any, sender: Any = None) -> Mail:
    """Return the mail that a message asks for.

    Args:
        wrapper: the RecipeWrapper, or None: then the message has its parameters and its content itself.
        sender: for a message that names none.

    Raises:
        Rejected: no mail can be made of it.
    """
    parameters, content = _parameters(wrapper, message)
    mail = EmailMessage()
    try:
        recipients = _recipients(parameters)
        mail["Subject"] = _text(parameters.get("subject", SUBJECT), "subject")
        mail["To"] = ", ".join(recipients)
        mail["From"] = sender = _text(parameters.get("from", sender), "from")
        mail["Date"] = localtime()
        mail.set_content(_filled(_content(parameters.get("content", content)), message))
    except (
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ) as e:  # a line break, a field that is not there
        raise Rejected(f"the mail cannot be made: {type(e).__name__}: {e}") from None
    except RecursionError:
        raise Rejected("the mail cannot be made: the message is nested too deep") from None
    addresses = tuple(dict.fromkeys(address for _, address in getaddresses(recipients) if address))
    if not addresses:
        raise Rejected("the mail cannot be made: none of its recipients is an address")
    return Mail(mail, sender, addresses)


def _parameters(wrapper: Any, message: Any) -> tuple[dict[str, Any], Any]:
    if wrapper is None and not isinstance(message, dict):
        raise Rejected(f"a message without a recipe must be a JSON object, this is {kind(message)}")
    parameters = (message if wrapper is None else wrapper.recipe_step).get("parameters")
    if not isinstance(parameters, dict):
        raise Rejected(f"the parameters of a mail must be an object, not {kind(parameters)}")
    return parameters, (message.get("content") if wrapper is None else None)


def _recipients(parameters: Mapping[str, Any]) -> list[str]:
    wanted = parameters.get("recipients", parameters.get("recipient"))
    if isinstance(wanted, dict):
        if "select" not in wanted:
            raise Rejected("recipients in groups need the key 'select', which says what group gets the mail")
        chosen = str(wanted["select"])
        wanted = sorted({*_listed(wanted.get(chosen)), *_listed(wanted.get("all"))})
    recipients = _listed(wanted)
    if not recipients:
        raise Rejected("the mail has no recipients")
    return recipients


def _listed(value: Any) -> list[str]:
    if not value:
        return []
    values = value if isinstance(value, list) else [value]
    return [_text(one, "recipient") for one in values]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Rejected(f"the {what} of a mail must be a text, not {kind(value)}")
    return value


def _content(value: Any) -> str:
    if isinstance(value, list):
        value = "".join(_text(one, "content") for one in value)
    if not value:
        raise Rejected("the mail has no content")
    return _text(value, "content")


class _Fields(dict[str, Any]):
    """What {payload} and {pprint_payload} stand for; every other {name} stands for itself."""

    def __missing__(self, name: str) -> str:
        return _printed(self["payload"]) if name == "pprint_payload" else "{" + name + "}"


def _filled(content: str, message: Any) -> str:
    text = content.format_map(_Fields(payload=message))
    if len(text) > MOST_TEXT:
        raise Rejected(f"the mail would have {len(text)} characters, more than {MOST_TEXT}")
    return text


def _printed(message: Any) -> str:
    if isinstance(message, list) and message and all(isinstance(line, str) for line in message):
        return "\n".join(message)
    if len(json.dumps(message, default=str)) > MOST_PRINTED:
        raise Rejected("the message is too large to be laid out in a mail; {payload} puts it in as it is")
    return pprint.pformat(message)


class Verdict(enum.Enum):
    """What a refusal means."""

    AWAY = "away"  # the server takes no mail at all at the moment
    LATER = "later"  # not this mail, at the moment
    NEVER = "never"  # not this mail


def judge(code: int) -> Verdict:
    """Return what the reply code of a server means (RFC 5321, 4.2.1 and 3.8)."""
    if code == 421:
        return Verdict.AWAY
    return Verdict.LATER if 400 <= code < 500 else Verdict.NEVER


def refusals_of(error: OSError, mail: Mail) -> Refusals | None:
    """Return who of the recipients was refused; None if the error does not concern the mail."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        refusals: Refusals = error.recipients
        return refusals
    if isinstance(error, (smtplib.SMTPSenderRefused, smtplib.SMTPDataError)):
        return dict.fromkeys(mail.recipients, (error.smtp_code, error.smtp_error))
    if isinstance(error, smtplib.SMTPNotSupportedError):  # an address that is not ASCII
        return dict.fromkeys(mail.recipients, (553, str(error)))
    return None


def reason_of(error: OSError) -> str:
    """Return in one line why a server cannot be reached, or will not talk."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_decoded(error.smtp_error)}"
    return error.strerror or _decoded(str(error)) or type(error).__name__


def told(refusals: Refusals) -> str:
    """Return refusals in one line."""
    return "; ".join(f"{one}: {code} {_decoded(text)}" for one, (code, text) in refusals.items())


def _decoded(text: bytes | str) -> str:
    return " ".join((text.decode("utf-8", "replace") if isinstance(text, bytes) else text).split())[:200]
