"""A transport that keeps what a service does with it: what is sent and settled outside or by a commit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from workflows.transport.common_transport import CommonTransport, json_serializer


@dataclass
class FakeTransport(CommonTransport):
    """`sent`: (destination, message, options); `acked`, `nacked`: message IDs, in order."""

    sent: list[tuple[str, Any, dict[str, Any]]] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)
    nacked: list[str] = field(default_factory=list)
    refuse: dict[str, Exception] = field(default_factory=dict)
    subscribed: dict[str, dict[str, Any]] = field(default_factory=dict)
    open: dict[int, list[tuple[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def connect(self) -> bool:
        return True

    def is_connected(self) -> bool:
        return True

    @property
    def is_reconnectable(self) -> bool:
        return False

    def deliver(
        self, queue: str, message: Any, header: dict[str, Any] | None = None, tag: str = "m1"
    ) -> None:
        """Call back the subscriber of a queue, as from a broker."""
        self.subscribed[queue]["callback"]({"message-id": tag, "subscription": 1, **(header or {})}, message)

    def _subscribe(self, sub_id: int, channel: str, callback: Any, **options: Any) -> None:
        self.subscribed[channel] = {"callback": callback, **options}

    def _do(self, action: str, value: Any, transaction: int | None) -> None:
        if transaction is not None:
            self.open[transaction].append((action, value))
        else:
            getattr(self, action).append(value)

    def _send(self, destination: str, message: Any, transaction: int | None = None, **options: Any) -> None:
        if destination in self.refuse:
            raise self.refuse[destination]
        self._do("sent", (destination, json.loads(message), options), transaction)

    _broadcast = _send

    def _ack(self, message_id: str, subscription_id: int, transaction: int | None = None, **_: Any) -> None:
        self._do("acked", message_id, transaction)

    def _nack(self, message_id: str, subscription_id: int, transaction: int | None = None, **_: Any) -> None:
        self._do("nacked", message_id, transaction)

    def _transaction_begin(self, transaction_id: int, **_: Any) -> None:
        self.open[transaction_id] = []

    def _transaction_abort(self, transaction_id: int, **_: Any) -> None:
        del self.open[transaction_id]

    def _transaction_commit(self, transaction_id: int, **_: Any) -> None:
        if "commit" in self.refuse:
            raise self.refuse["commit"]
        for action, value in self.open.pop(transaction_id):
            getattr(self, action).append(value)

    @staticmethod
    def _mangle_for_sending(message: Any) -> str:
        return json.dumps(message, default=json_serializer)
