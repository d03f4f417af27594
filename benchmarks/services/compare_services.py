"""Services that run unmodified under zocalo.service and zocalod; `Pipe7` is Pipe with queues of its own."""

from __future__ import annotations

from typing import Any, ClassVar

from workflows.services.common_service import CommonService


class Ack(CommonService):
    """Consumes and acknowledges."""

    taken, sent = "in", "out"
    options: ClassVar[dict[str, Any]] = {}

    def initializing(self) -> None:
        """Subscribe."""
        self.transport.subscribe(self.taken, self.work, acknowledgement=True, **self.options)

    def work(self, header: dict[str, Any], _message: object) -> None:
        """Handle one message."""
        self.transport.ack(header)


class Pipe(Ack):
    """Consumes, sends on, acknowledges."""

    def work(self, header: dict[str, Any], message: object) -> None:
        """Handle one message."""
        self.transport.send(self.sent, message)
        self.transport.ack(header)


class Wide(Pipe):
    """The same with the prefetch that is best for many short callbacks."""

    options: ClassVar[dict[str, Any]] = {"prefetch_count": 100}


class Transaction(Ack):
    """Consumes, and sends on and acknowledges in a transaction."""

    def work(self, header: dict[str, Any], message: object) -> None:
        """Handle one message."""
        number = self.transport.transaction_begin(subscription_id=header["subscription"])
        self.transport.send(self.sent, message, transaction=number)
        self.transport.ack(header, transaction=number)
        self.transport.transaction_commit(number)


class First(Pipe):
    """The first of two services that a message goes through."""

    sent = "between"


class Second(Pipe):
    """The second one."""

    taken = "between"


def __getattr__(name: str) -> type[Pipe]:
    number = name.removeprefix("Pipe")
    if not number.isdecimal():
        raise AttributeError(name)
    return type(name, (Pipe,), {"taken": f"in{number}", "sent": f"out{number}"})
