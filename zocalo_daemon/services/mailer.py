"""Mailer: sends the mails that recipes and other messages ask for.

A message is acknowledged once the mail server has taken its mail. While the server is away the service
keeps one message in hand and tries that again, later each time; the others wait in the queue, for no more
than one is delivered to it at a time. What the server does not take yet of one mail is sent again later, to
those recipients alone.
"""

from __future__ import annotations

import contextlib
import json
import smtplib
import time
from collections.abc import Mapping
from typing import Any

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.services.envelope import Rejected
from zocalo_daemon.services.mail import (
    Mail,
    Refusals,
    Verdict,
    judge,
    mail_of,
    reason_of,
    refusals_of,
    told,
)
from zocalo_daemon.services.recipe_service import RecipeService

QUEUE = "mailnotification"
TIMEOUT = 60.0  # seconds for each answer of the server
FIRST_RETRY = 1  # seconds until a server that is away is tried again; doubles with each attempt
LAST_RETRY = 60  # seconds
RESEND_AFTER = 60  # seconds until a mail is tried again that the server did not take
GIVE_UP_AFTER = 4 * 24 * 3600  # seconds; RFC 5321, 4.5.4.1

LEFT = "zocalo-mailer-recipients"  # header: who has not got the mail yet, as JSON
SINCE = "zocalo-mailer-since"  # header: when it was tried first, in seconds since the epoch


class ServerAway(Exception):
    """The mail server takes no mail at the moment; the text says why."""


class Mailer(RecipeService):
    """Sends mails; see the module."""

    _service_name = "Mail Notifications"
    _logger_name = "zocalo.services.mailer"

    def initializing(self) -> None:
        """Subscribe.

        Raises:
            ConfigError: the site configuration names no mail server.
        """
        smtp = getattr(self._environment.get("config"), "smtp", None)
        if not smtp or not smtp.get("host") or not smtp.get("port"):
            raise ConfigError(
                "the Mailer needs the plugin smtp in the site configuration, with host and port"
            )
        self._host, self._port = str(smtp["host"]), int(smtp["port"])
        self._sender = smtp.get("from")
        self._held: tuple[dict[str, Any], Any] | None = None
        self._failures = 0
        self._transport.subscribe(QUEUE, self.receive, acknowledgement=True)

    def receive(self, header: dict[str, Any], message: Any) -> None:
        """Take one delivery; keep it if the mail server is away.

        One that comes while another is kept comes in its place: the relay that had delivered that is gone.
        """
        self._held = None
        try:
            super().receive(header, message)
        except ServerAway as e:
            self._hold(header, message, e)

    def process(self, wrapper: Any, header: dict[str, Any], message: Any) -> None:
        """Send the mail of a message."""
        whole = mail_of(wrapper, message, self._sender)
        mail, since = _rest_of(whole, header)
        refusals = self._send(mail)
        later = {one for one, (code, _) in refusals.items() if judge(code) is Verdict.LATER}
        sent = [one for one in mail.recipients if one not in refusals]
        subject = whole.message["Subject"]
        if sent:
            self.log.info("Sent mail %r to %s", subject, ", ".join(sent))
        if later:
            if time.time() - since > GIVE_UP_AFTER:
                raise Rejected(f"the mail server has not taken the mail for days: {told(refusals)}")
            self.log.warning("Mail %r is tried again in %d s: %s", subject, RESEND_AFTER, told(refusals))
            self._put_off(wrapper, header, message, {LEFT: json.dumps(sorted(later)), SINCE: since})
            return
        if refusals:
            if mail.recipients == whole.recipients and not sent:
                raise Rejected(f"the mail server does not take the mail: {told(refusals)}")
            self.log.error("Mail %r did not reach all its recipients: %s", subject, told(refusals))
        self._transport.ack(header)

    def _send(self, mail: Mail) -> Refusals:
        """Hand a mail to the server and return who was refused.

        Raises:
            Rejected: no server would take it.
            ServerAway: the server takes nothing at the moment.
        """
        try:
            refusals = self._hand_over(mail)
        except OSError as e:  # those of smtplib among them
            found = refusals_of(e, mail)
            if found is None:
                raise ServerAway(reason_of(e)) from e
            refusals = found
        except ValueError as e:  # an address with bytes that are no text
            raise Rejected(f"the mail cannot be sent: {e}") from e
        if any(judge(code) is Verdict.AWAY for code, _ in refusals.values()):
            raise ServerAway(told(refusals))
        self._found()
        return refusals

    def _hand_over(self, mail: Mail) -> Refusals:
        server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT)
        try:
            return server.send_message(mail.message, mail.sender, mail.recipients)
        finally:
            with contextlib.suppress(OSError):  # what it says to a farewell changes nothing
                server.quit()

    def _put_off(self, wrapper: Any, header: dict[str, Any], message: Any, headers: dict[str, Any]) -> None:
        def send(transaction: int) -> None:
            options = {"delay": RESEND_AFTER, "transaction": transaction}
            if wrapper:
                wrapper.checkpoint(message, header=headers, **options)
            else:
                self._transport.send(QUEUE, message, headers=headers, **options)

        self._pass_on(header, send)

    # -- A server that is away

    def _hold(self, header: dict[str, Any], message: Any, why: ServerAway) -> None:
        if not self._failures:
            self.log.error(
                "Mail server %s:%d is away (%s): messages wait, it is tried until it is back",
                *(self._host, self._port, why),
            )
        self._held = (header, message)
        # Nothing else comes while this message is in hand: the service is idle for as long.
        self._register_idle(min(LAST_RETRY, FIRST_RETRY * 2**self._failures), self.try_again)
        self._failures = min(self._failures + 1, 10)

    def try_again(self) -> None:
        """Send what is held."""
        if self._held is not None:
            self.receive(*self._held)

    def _found(self) -> None:
        if self._failures:
            self.log.warning("Mail server %s:%d is back", self._host, self._port)
            self._failures = 0
            self._register_idle(None, None)


def _rest_of(mail: Mail, header: Mapping[str, Any]) -> tuple[Mail, float]:
    """Return what is left to be sent of a mail, and since when it is tried, in seconds since the epoch.

    Raises:
        Rejected: the headers say something else than this service writes.
    """
    if LEFT not in header:
        return mail, time.time()
    try:
        return mail.only(list(json.loads(header[LEFT]))), float(header[SINCE])
    except (TypeError, ValueError, KeyError):
        raise Rejected(f"the headers {LEFT} and {SINCE} must be a list as JSON and a time") from None
