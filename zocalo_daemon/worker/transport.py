"""RelayTransport: the relay for services and scripts, with calls, headers and exceptions of PikaTransport."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import workflows
from workflows.transport.common_transport import CommonTransport

from zocalo_daemon.protocol import tally
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.worker import messages
from zocalo_daemon.worker.around import Callback
from zocalo_daemon.worker.board import SILENT, Silent
from zocalo_daemon.worker.company import COMPANY
from zocalo_daemon.worker.connection import Connection
from zocalo_daemon.worker.dial import default_socket
from zocalo_daemon.worker.inbox import Inbox
from zocalo_daemon.worker.subscription import Subscription
from zocalo_daemon.worker.transactions import Transactions

SCRIPT_TIMEOUT = 3.0  # seconds to reach the relay
WORKER_TIMEOUT = 30.0  # seconds; the relay of a worker may just be restarting
FLUSH_TIMEOUT = 10.0  # seconds until disconnect() gives up on a relay that is away


class RelayTransport(CommonTransport):
    """A CommonTransport over the relay's socket.

    Sending inside the callback of a delivery that is not settled yet returns at once: should the message be
    lost, so is the settlement that follows it, and the delivery comes again. Every other send returns when
    the message is safe, and raises workflows.Error if it is refused. To settle waits until what the other
    transports of the process have sent is safe.

    Args:
        middleware: as in CommonTransport.
        transport: a member of the pool, "" the default one. A service that makes one beside its own, for
            another broker, gets its callbacks where it gets all others.
    """

    def __init__(self, middleware: list[Any] | None = None, *, transport: str = "") -> None:
        # The base class keeps these as class attributes: two transports of one process would share ids, and
        # one would get the callbacks of the other.
        self._CommonTransport__subscriptions: dict[int, dict[str, Any]] = {}
        self._CommonTransport__transactions: set[int] = set()
        self._CommonTransport__subscription_id = 0
        self._CommonTransport__transaction_id = 0
        super().__init__(middleware=middleware)
        self._who = ("", transport, "")  # worker, transport, secret
        self._socket_path: Path | str | None = None
        self._timeout = SCRIPT_TIMEOUT
        self._line: Connection | None = None
        self._interceptor: Callable[..., Any] | None = None
        self._inbox = Inbox(self.subscription_callback, lambda: COMPANY.others_are_safe(self))
        self._transactions = Transactions(self._inbox)
        if COMPANY.first is not None:
            self._join(COMPANY.first)

    def _join(self, first: RelayTransport) -> None:
        """Be of the same worker, and have callbacks run where its own run."""
        self._socket_path, self._timeout = COMPANY.socket or first._socket_path, first._timeout
        self._who = (first._who[0], self._who[1], first._who[2])
        self._inbox.around.notes = first._inbox.around.notes
        if first._interceptor is not None:
            self.subscription_callback_set_intercept(first._interceptor)

    @classmethod
    def for_worker(
        cls,
        socket: str | Path,
        worker: str,
        transport: str = "",
        secret: str = "",
        notes: Silent = SILENT,
    ) -> RelayTransport:
        """Return the transport of a worker.

        Args:
            socket, worker: path of the relay's socket; its instance, "dispatcher/0".
            transport, secret: a member of the pool, "" the default one; what it shows to the relay.
            notes: where it notes what it does.
        """
        made = cls()
        made._inbox.around.notes = notes
        # As it is: pathlib would cost each worker a tenth of a MiB (see layout.py).
        made._socket_path, made._who, made._timeout = socket, (worker, transport, secret), WORKER_TIMEOUT
        return made

    # -- Life

    def connect(self) -> bool:
        """Reach the relay; does nothing if it is reached already.

        Raises:
            workflows.Disconnected: no relay answers in time.
        """
        if self.is_connected():
            return True
        line = Connection(
            self._socket_path or default_socket(),
            *self._who,
            asking=self._inbox.around.notes.asking,
            on_frame=self._inbox.take,
            on_read=self._inbox.hand_out_all,
            on_lost=self._inbox.lose,
            on_up=self._inbox.subscribe_again,
        )
        self._inbox.attach(line)
        line.open(self._timeout)
        self._line = line
        COMPANY.enter(self)
        return True

    def is_connected(self) -> bool:
        """Return False before connect(), after disconnect(), and once the relay has refused this transport.

        While the relay is away it stays True: calls wait for the next one, as nothing is lost.
        """
        return self._line is not None and self._line.is_open

    def disconnect(self) -> None:
        """Wait until everything sent and settled is safe, and close; deliveries in hand come again."""
        line = self._line
        if line is None:
            return
        if line.is_open:
            try:
                self._inbox.give_back_unseen()
                line.ask([protocol.FLUSH, 0], FLUSH_TIMEOUT)
            except workflows.Error as e:
                self.log.warning("Closing the transport without an answer from the relay: %s", e)
        COMPANY.leave(self)
        line.close()
        self._line = None
        self._transactions.clear()
        self._CommonTransport__subscriptions.clear()
        self._CommonTransport__transactions.clear()

    def drain(self) -> None:
        """Stop taking messages from queues and give back what no callback has seen.

        What is in hand can still be settled, sending goes on, and temporary queues still deliver, because
        the work in hand may wait for a reply.
        """
        if self._line is not None:
            self._inbox.drain()

    def make_safe(self) -> bool:
        """Wait until what callbacks have sent is safe; False if it may be lost with a relay that is gone."""
        return self._line is None or self._inbox.unseen.make_safe(self._line)

    def in_hand(self) -> int:
        """Return how many deliveries the service has that are not settled."""
        return self._inbox.in_hand() if self._line is not None else 0

    def _connected(self, place: int | None = None) -> Connection:
        if self._line is None:
            raise workflows.Disconnected("the transport is not connected")
        self._inbox.around.notes.progress(place)
        return self._line

    # -- Subscribing (the base class keeps the callback in its records, so the arguments go unused)

    def _subscribe(self, sub_id: int, channel: str, callback: Callback, **options: Any) -> None:  # noqa: ARG002
        self._open(sub_id, protocol.QUEUE, str(channel or ""), options)

    def _subscribe_broadcast(
        self,
        sub_id: int,
        channel: str,
        callback: Callback,  # noqa: ARG002
        **options: Any,
    ) -> None:
        options["acknowledgement"] = False
        self._open(sub_id, protocol.TOPIC, str(channel or ""), options)

    def _subscribe_temporary(
        self,
        sub_id: int,
        channel_hint: str | None,
        callback: Callback,  # noqa: ARG002
        **options: Any,
    ) -> str:
        # A name of its own from the start: after the death of the relay the queue comes back under the same
        # name, which others have been told.
        hint = (channel_hint or "reply").removeprefix("transient.")
        return self._open(sub_id, protocol.TEMPORARY, f"transient.{hint}.{uuid.uuid4()}", options)

    def _open(self, number: int, kind: int, name: str, options: dict[str, Any]) -> str:
        records = self._CommonTransport__subscriptions
        try:
            line = self._connected(tally.SUBSCRIBED[kind])
            if not name:
                raise workflows.Error("a subscription needs the name of a queue or topic")
            subscription = Subscription(number, kind, name, *messages.subscribe_options(**options))
            callback = records[number]["callback"]
            records[number]["callback"] = self._inbox.around.tracked(subscription, callback)
            self._inbox.add(subscription)
            subscription.name = line.ask([protocol.SUBSCRIBE, 0, number, kind, name, subscription.options])
        except Exception:
            self._inbox.around.notes.progress(tally.UNSUBSCRIBED)
            self._inbox.remove(number)
            records.pop(number, None)
            raise
        return subscription.name

    def _unsubscribe(self, sub_id: int, **_options: Any) -> None:
        line = self._connected(tally.UNSUBSCRIBED)
        # Asked a second time, to know that it is done; one that ended with the connection needs nothing.
        if self._inbox.end(sub_id):
            line.ask([protocol.UNSUBSCRIBE, 0, sub_id])

    def subscription_callback_set_intercept(self, interceptor: Callable[..., Any] | None) -> None:
        """Have every callback go through a function; None ends that."""
        super().subscription_callback_set_intercept(interceptor)
        self._interceptor, self._inbox.intercepted = interceptor, interceptor is not None

    # -- Sending

    def _send(self, destination: str, message: Any, **options: Any) -> None:
        self._publish(protocol.QUEUE, destination, message, options)

    def _broadcast(self, destination: str, message: Any, **options: Any) -> None:
        self._publish(protocol.TOPIC, destination, message, options)

    def broadcast_status(self, status: Mapping[str, Any]) -> None:
        """Broadcast what a service is doing; lost if the relay is away, as the next one follows soon."""
        made = messages.status(status)
        line = self._connected()
        with line.lock:
            line.post(line.pack([protocol.SEND, line.next_number(), False, made]))

    def _publish(self, kind: int, destination: str, message: Any, options: dict[str, Any]) -> None:
        line = self._connected(tally.SENT[kind])
        number = options.pop("transaction", None)
        made = messages.publication(kind, destination, message, **options)
        if number is not None:
            self._transactions.get(number).publish(made, len(line.pack(made)))
        elif not self._inbox.sent_unseen(made):
            line.ask([protocol.SEND, 0, True, made])

    # -- Settling

    def _ack(
        self,
        message_id: int,
        subscription_id: int,
        *,
        multiple: bool = False,
        transaction: int | None = None,
        **_options: Any,
    ) -> None:
        self._connected(tally.ACK)
        enlisted = None if transaction is None else self._transactions.get(transaction)
        self._inbox.settle(protocol.ACK, message_id, subscription_id, multiple=multiple, transaction=enlisted)

    def _nack(
        self,
        message_id: int,
        subscription_id: int,
        *,
        multiple: bool = False,
        requeue: bool | None = None,
        transaction: int | None = None,
        **options: Any,
    ) -> None:
        self._connected(tally.NACK)
        enlisted = None if transaction is None else self._transactions.get(transaction)
        self._inbox.settle(
            *(protocol.NACK, message_id, subscription_id),
            multiple=multiple,
            requeue=messages.requeue_or_reason(requeue, options.get("reason")),
            transaction=enlisted,
        )

    # -- Transactions

    def _transaction_begin(self, transaction_id: int, **_options: Any) -> None:
        self._connected(tally.BEGIN)
        self._transactions.begin(transaction_id)

    def _transaction_abort(self, transaction_id: int, **_options: Any) -> None:
        self._transactions.abort(transaction_id, self._connected(tally.ABORT))

    def _transaction_commit(self, transaction_id: int, **_options: Any) -> None:
        line = self._connected(tally.COMMIT)
        transaction = self._transactions.get(transaction_id)
        if transaction.settled:
            transaction.spoilt |= not COMPANY.others_are_safe(self)
            self._inbox.unseen.sent()
        self._transactions.commit(transaction_id, line)

    # Not properties: services that speak msgpack put functions of their own here.
    _mangle_for_sending = cached_property(lambda self: self._inbox.around.leaving)
    _mangle_for_receiving = cached_property(lambda self: self._inbox.around.arrived)
