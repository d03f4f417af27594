"""RelayTransport: what services and scripts see of the relay.

It behaves towards a service as PikaTransport does: the same calls, headers and exceptions.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import workflows
from workflows.transport.common_transport import CommonTransport

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.worker import Frame
from zocalo_daemon.worker import messages
from zocalo_daemon.worker.connection import Connection
from zocalo_daemon.worker.inbox import Subscription, Transaction

SCRIPT_TIMEOUT = 3.0  # seconds to reach the relay
WORKER_TIMEOUT = 30.0  # seconds; the relay of a worker may just be restarting
FLUSH_TIMEOUT = 10.0  # seconds until disconnect() gives up on a relay that is away

STATUS_TOPIC = "transient.status"
STATUS_EXPIRATION = 15  # seconds

Callback = Callable[[Mapping[str, Any], Any], Any]


def default_socket() -> Path:
    """Return the relay's socket for a plain script: $ZOCALO_RELAY_SOCKET, the user's daemon, the system's."""
    named = os.environ.get("ZOCALO_RELAY_SOCKET")
    if named:
        return Path(named)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime, "zocalo", "relay.sock").exists():
        return Path(runtime, "zocalo", "relay.sock")
    return Path("/run/zocalo/relay.sock")


class RelayTransport(CommonTransport):  # type: ignore[misc,unused-ignore]
    """A CommonTransport over the relay's socket.

    Sending inside the callback of a delivery that is not settled yet returns at once: should the message be
    lost, so is the settlement that follows it, and the delivery comes again. Every other send returns when
    the message is safe, and raises workflows.Error if it is refused.

    Args:
        middleware: as in CommonTransport.
    """

    def __init__(self, middleware: list[Any] | None = None) -> None:
        # The base class keeps these as class attributes: two transports of one process would share ids, and
        # one would get the callbacks of the other.
        self._CommonTransport__subscriptions: dict[int, dict[str, Any]] = {}
        self._CommonTransport__transactions: set[int] = set()
        self._CommonTransport__subscription_id = 0
        self._CommonTransport__transaction_id = 0
        super().__init__(middleware=middleware)
        self._worker, self._transport_name = "", ""
        self._socket_path: Path | None = None
        self._timeout = SCRIPT_TIMEOUT
        self._line: Connection | None = None
        self._subscriptions: dict[int, Subscription] = {}
        self._transactions: dict[int, Transaction] = {}
        self._stale: set[int] = set()  # handed out by a relay that is gone: they come again
        self._current = threading.local()  # .delivery: (Subscription, number) whose callback this thread runs
        self._intercepted = False

    @classmethod
    def for_worker(cls, socket: str | Path, worker: str, transport: str = "") -> RelayTransport:
        """Return the transport of a worker.

        Args:
            socket: path of the relay's socket.
            worker: its instance, "dispatcher/0".
            transport: a member of the pool; "" is the default one.
        """
        made = cls()
        made._socket_path, made._worker, made._transport_name = Path(socket), worker, transport
        made._timeout = WORKER_TIMEOUT
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
            self._worker,
            self._transport_name,
            on_frame=self._take,
            on_read=self._hand_out_all,
            on_lost=self._forget,
            on_up=self._subscribe_again,
        )
        self._line = line
        try:
            line.open(self._timeout)
        except BaseException:
            self._line = None
            raise
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
                self._give_back_unseen(line)
                line.ask([protocol.FLUSH, 0], FLUSH_TIMEOUT)
            except workflows.Error as e:
                self.log.warning("Closing the transport without an answer from the relay: %s", e)
        line.close()
        self._line = None
        self._subscriptions.clear()
        self._transactions.clear()
        self._stale.clear()
        self._CommonTransport__subscriptions.clear()
        self._CommonTransport__transactions.clear()

    def _give_back_unseen(self, line: Connection) -> None:
        # Else they would count as deliveries that their worker died of.
        with line.lock:
            for one in self._subscriptions.values():
                unseen = one.unseen()
                if unseen:
                    line.post(line.pack([protocol.RELEASED, one.number, unseen]))

    def drain(self) -> None:
        """Stop taking messages from queues and give back what no callback has seen.

        What is in hand can still be settled, sending goes on, and temporary queues still deliver, because
        the work in hand may wait for a reply.
        """
        line = self._line
        if line is None:
            return
        with line.lock:
            for subscription in list(self._subscriptions.values()):
                if subscription.kind == protocol.QUEUE and subscription.live:
                    self._end(subscription)

    def in_hand(self) -> int:
        """Return how many deliveries the service has that are not settled."""
        return sum(len(one.out) for one in list(self._subscriptions.values()))

    def _connected(self) -> Connection:
        if self._line is None:
            raise workflows.Disconnected("the transport is not connected")
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
            line = self._connected()
            if not name:
                raise workflows.Error("a subscription needs the name of a queue or topic")
            wire, gate = messages.subscribe_options(**options)
            subscription = Subscription(number, kind, name, wire, gate)
            records[number]["callback"] = self._tracked(subscription, records[number]["callback"])
            # Known before it is asked for: the first delivery may follow the answer in the same read.
            self._subscriptions[number] = subscription
            subscription.name = line.ask([protocol.SUBSCRIBE, 0, number, kind, name, wire])
        except Exception:
            self._subscriptions.pop(number, None)
            records.pop(number, None)
            raise
        return subscription.name

    def _tracked(self, subscription: Subscription, callback: Callback) -> Callback:
        """Return the callback with what has to happen around it, in the thread that runs it."""
        settles = not subscription.options["ack"] and subscription.kind != protocol.TOPIC
        current = self._current

        def tracked(header: Mapping[str, Any], message: Any) -> None:
            delivery = header["message-id"]
            if delivery in subscription.out:
                subscription.seen.add(delivery)
            outer = getattr(current, "delivery", None)
            current.delivery = (subscription, delivery)
            try:
                callback(header, message)
            finally:
                current.delivery = outer
            if settles and delivery in subscription.out:
                self._settle(protocol.ACK, delivery, subscription.number)

        return tracked

    def _unsubscribe(self, sub_id: int, **_options: Any) -> None:
        line = self._connected()
        with line.lock:
            subscription = self._subscriptions.get(sub_id)
            if subscription is None or not subscription.live:
                return  # it ended with the connection, or when the worker began to drain
            self._end(subscription)
        line.ask([protocol.UNSUBSCRIBE, 0, sub_id])

    def _end(self, subscription: Subscription) -> None:
        line = self._connected()
        subscription.live = False
        self._give_back(subscription)
        line.post(line.pack([protocol.UNSUBSCRIBE, line.next_number(), subscription.number]))
        if not subscription.out:
            self._subscriptions.pop(subscription.number, None)

    def _subscribe_again(self) -> bytes:
        line = self._connected()
        frames = [
            [protocol.SUBSCRIBE, line.next_number(), one.number, one.kind, one.name, one.options]
            for one in self._subscriptions.values()
            if one.live
        ]
        return b"".join(map(line.pack, frames))

    # -- Receiving

    def subscription_callback_set_intercept(self, interceptor: Callable[..., Any] | None) -> None:
        """Have every callback go through a function; None ends that."""
        super().subscription_callback_set_intercept(interceptor)  # type: ignore[no-untyped-call,unused-ignore]
        self._intercepted = interceptor is not None

    def _take(self, frame: Frame) -> None:
        """Act on a frame that answers no question (in the reader)."""
        kind, number = frame[0], frame[1]
        line = self._connected()
        with line.lock:
            subscription = self._subscriptions.get(number)
            if kind == protocol.DELIVER:
                if subscription is not None and subscription.live:
                    subscription.buffer.append(frame)
                else:
                    line.post(line.pack([protocol.RELEASED, number, [frame[2]]]))
            elif subscription is None:
                return
            elif kind == protocol.RECALL:
                self._give_back(subscription)
            elif kind == protocol.CANCELLED:
                subscription.live = False
                self.log.error("The subscription to %s has ended: %s", subscription.name, frame[2])

    def _give_back(self, subscription: Subscription) -> None:
        line = self._connected()
        line.post(line.pack([protocol.RELEASED, subscription.number, subscription.give_back()]))

    def _hand_out_all(self) -> None:
        for subscription in list(self._subscriptions.values()):
            if subscription.buffer:
                self._hand_out(subscription)

    def _hand_out(self, subscription: Subscription) -> None:
        """Give the callback what it may have now; in the reader, or in the thread that has just settled."""
        lock = self._connected().lock
        with lock:
            if subscription.handing:
                return  # the thread that hands out looks again when its callback has returned
            subscription.handing = True
        while True:
            with lock:
                frame = subscription.next()
                if frame is None:
                    subscription.handing = False
                    return
            self._call(subscription, frame)

    def _call(self, subscription: Subscription, frame: Frame) -> None:
        headers = messages.callback_headers(frame, subscription.number)
        try:
            self.subscription_callback(subscription.number)(headers, frame[5])
        except Exception:
            # Only without an interceptor: the callback has run here, in the reader, which must live on.
            self.log.exception("A callback of %s failed; its message is delivered again", subscription.name)
            if frame[2] in subscription.out:
                self._settle(protocol.NACK, frame[2], subscription.number, requeue=True)

    # -- Sending

    def _send(self, destination: str, message: Any, **options: Any) -> None:
        self._publish(protocol.QUEUE, destination, message, options)

    def _broadcast(self, destination: str, message: Any, **options: Any) -> None:
        self._publish(protocol.TOPIC, destination, message, options)

    def broadcast_status(self, status: Mapping[str, Any]) -> None:
        """Broadcast what a service is doing; lost if the relay is away, as the next one follows soon.

        Raises:
            ValueError: a field is missing without which no monitor can show it.
        """
        missing = {"host", "workflows", "status"} - status.keys()
        if missing:
            raise ValueError(f"Missing required field(s) for status broadcast: {', '.join(missing)}")
        line = self._connected()
        made = messages.publication(
            protocol.TOPIC, STATUS_TOPIC, messages.to_json(status), expiration=STATUS_EXPIRATION
        )
        with line.lock:
            line.post(line.pack([protocol.SEND, line.next_number(), False, made]))

    def _publish(self, kind: int, destination: str, message: Any, options: dict[str, Any]) -> None:
        line = self._connected()
        number = options.pop("transaction", None)
        made = messages.publication(kind, destination, message, **options)
        if number is not None:
            self._enlist(number).publish(made, len(line.pack(made)))
        elif self._has_delivery():
            with line.lock:
                line.post(line.pack([protocol.SEND, line.next_number(), False, made]))
        else:
            line.ask([protocol.SEND, 0, True, made])

    def _has_delivery(self) -> bool:
        # Of this thread, and not settled: only then does a lost message bring its delivery back. A message
        # that a timer sends while some delivery is out somewhere would be gone for good.
        current = getattr(self._current, "delivery", None)
        return current is not None and current[1] in current[0].out

    # -- Settling

    def _ack(self, message_id: int, subscription_id: int, **options: Any) -> None:
        self._settle(protocol.ACK, message_id, subscription_id, **options)

    def _nack(self, message_id: int, subscription_id: int, **options: Any) -> None:
        self._settle(protocol.NACK, message_id, subscription_id, **options)

    def _settle(
        self,
        kind: int,
        delivery: int,
        number: int,
        *,
        multiple: bool = False,
        requeue: bool | None = None,
        transaction: int | None = None,
        **_others: Any,
    ) -> None:
        line = self._connected()
        with line.lock:
            if delivery in self._stale:
                self._drop_stale(delivery, transaction)
                return
            subscription = self._subscriptions.get(number)
            covered = subscription.find(delivery, multiple) if subscription is not None else []
            if subscription is None or not covered:
                raise workflows.Error(
                    f"message {delivery} of subscription {number} is not in hand: it is settled already"
                )
            if transaction is not None:
                self._enlist(transaction).settle(kind, subscription, covered, requeue)
                return
            line.post(b"".join(line.pack(_settlement(kind, number, one, requeue)) for one in covered))
            self._settled(subscription, covered)
        self._go_on(subscription)

    def _drop_stale(self, delivery: int, transaction: int | None) -> None:
        if transaction is not None:
            self._enlist(transaction).spoilt = True
            return
        self._stale.discard(delivery)
        self.log.warning(
            "Message %d came from a relay that is gone: it is delivered again, its settlement is dropped",
            delivery,
        )

    def _settled(self, subscription: Subscription, deliveries: list[int]) -> None:
        subscription.forget(deliveries)
        if not subscription.live and not subscription.out:
            self._subscriptions.pop(subscription.number, None)

    def _go_on(self, subscription: Subscription) -> None:
        if not subscription.buffer:
            return
        if self._intercepted:
            # The interceptor only queues the message: no other thread has to wake up for it.
            self._hand_out(subscription)
        elif not subscription.handing:
            # Callbacks run in the reader: wake it with a question whose answer nobody needs.
            line = self._connected()
            line.post(line.pack([protocol.FLUSH, 0]))

    def _forget(self) -> None:
        """The relay is gone, and with it every delivery: they come again (lock held)."""
        for subscription in list(self._subscriptions.values()):
            subscription.buffer.clear()
            self._stale.update(subscription.out)
            for transaction in subscription.out.values():
                if transaction in self._transactions:
                    self._transactions[transaction].spoilt = True
            subscription.out.clear()
            subscription.seen.clear()
            if not subscription.live:
                self._subscriptions.pop(subscription.number, None)

    # -- Transactions

    def _transaction_begin(self, transaction_id: int, **_options: Any) -> None:
        self._connected()
        self._transactions[transaction_id] = Transaction(transaction_id)

    def _enlist(self, number: int) -> Transaction:
        transaction = self._transactions.get(number)
        if transaction is None:
            raise workflows.Error(f"there is no transaction {number}: it has ended, or was never begun")
        return transaction

    def _transaction_abort(self, transaction_id: int, **_options: Any) -> None:
        with self._connected().lock:
            self._transactions.pop(transaction_id).release()

    def _transaction_commit(self, transaction_id: int, **_options: Any) -> None:
        line = self._connected()
        with line.lock:
            transaction = self._transactions.pop(transaction_id)
            # Whatever happens below, its deliveries can be settled by others from here on.
            transaction.release()
            if transaction.spoilt:
                self.log.warning(
                    "Transaction %d holds a message from a relay that is gone: the message is delivered "
                    "again, nothing of the transaction happens",
                    transaction_id,
                )
                return
            if transaction.settled:
                line.post(line.pack(transaction.frame(line.next_number(), wait=False)))
                for subscription, deliveries in transaction.settled:
                    self._settled(subscription, deliveries)
        if not transaction.settled:
            line.ask(transaction.frame(0, wait=True))
        for subscription, _deliveries in transaction.settled:
            self._go_on(subscription)

    _mangle_for_sending = staticmethod(messages.to_json)
    _mangle_for_receiving = staticmethod(messages.from_json)


def _settlement(kind: int, number: int, delivery: int, requeue: bool | None) -> Frame:
    frame: Frame = [kind, number, delivery, False]
    return [*frame, requeue] if kind == protocol.NACK else frame
