"""A mail server for tests: on loopback, refusing whom it is told to, away and back when it is told."""

from __future__ import annotations

import email
import email.policy
import socket
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

LATER = "451 4.7.1 try again later"
NEVER = "550 5.1.1 no such user"


class Post:
    """What a server has taken: (recipients, mail), in order.

    Args:
        refused: answers by recipient, one list each; each time the next of them is given, then it is taken.
        answer: to every mail, "" takes it.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[list[str], EmailMessage]] = []
        self.refused: dict[str, list[str]] = {}
        self.answer = ""
        self.attempts = 0

    async def handle_MAIL(
        self, _server: Any, _session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        self.attempts += 1
        if self.answer:
            return self.answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, _server: Any, _session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.refused.get(address):
            return self.refused[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.taken.append((list(envelope.rcpt_tos), mail))
        return "250 OK"

    @property
    def subjects(self) -> list[str]:
        """Of the mails that were taken."""
        return [mail["Subject"] for _, mail in self.taken]


class MailServer:
    """A server on a port of its own, which it keeps over `stop` and `start`."""

    def __init__(self) -> None:
        self.post = Post()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._controller: Controller | None = None

    def start(self) -> MailServer:
        """Listen."""
        self._controller = Controller(self.post, hostname="127.0.0.1", port=self.port)
        self._controller.start()
        return self

    def stop(self) -> None:
        """Be away; does nothing if it is."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None
