"""Everything a transport has received: its subscriptions, what is handed out, and how it is settled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import workflows

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.worker import Frame
from zocalo_daemon.worker import messages
from zocalo_daemon.worker.around import Around, Callback
from zocalo_daemon.worker.company import Unseen
from zocalo_daemon.worker.connection import Connection
from zocalo_daemon.worker.subscription import Subscription, Transaction

log = logging.getLogger("workflows.transport")


class Inbox:
    """The subscriptions of a transport.

    Args:
        callback_of: returns what to call for a subscription ID.
        others_are_safe: waits for what the other transports of the process have sent; False if it is lost.
    """

    def __init__(self, callback_of: Callable[[int], Callback], others_are_safe: Callable[[], bool]) -> None:
        self._callback_of = callback_of
        self._others_are_safe = others_are_safe
        self._line: Connection
        self._subscriptions: dict[int, Subscription] = {}
        self._stale: set[int] = set()  # handed out by a relay that is gone: they come again
        self.around = Around(self._settle_after)
        self.unseen = Unseen()
        self.intercepted = False  # callbacks only queue the message: any thread may call them

    def attach(self, line: Connection) -> None:
        """Use a new line; what was there before has ended with the old one."""
        self._line = line
        self._subscriptions.clear()
        self._stale.clear()

    # -- Subscriptions

    def add(self, subscription: Subscription) -> None:
        """Take in a subscription, before its SUBSCRIBE is sent: a delivery may follow the answer at once."""
        self._subscriptions[subscription.number] = subscription

    def remove(self, number: int) -> None:
        """Forget a subscription that came to nothing."""
        self._subscriptions.pop(number, None)

    def end(self, number: int) -> bool:
        """End a subscription and give back what no callback has had; False if it has ended before."""
        with self._line.lock:
            subscription = self._subscriptions.get(number)
            if subscription is None or not subscription.live:
                return False
            self._end(subscription)
        return True

    def drain(self) -> None:
        """End every subscription to a queue."""
        with self._line.lock:
            for subscription in list(self._subscriptions.values()):
                if subscription.kind == protocol.QUEUE and subscription.live:
                    self._end(subscription)

    def _end(self, subscription: Subscription) -> None:
        subscription.live = False
        self._give_back(subscription)
        line = self._line
        line.post(line.pack([protocol.UNSUBSCRIBE, line.next_number(), subscription.number]))
        if not subscription.out:
            self._subscriptions.pop(subscription.number, None)

    def subscribe_again(self) -> bytes:
        """Return the frames that set up every subscription at a new relay."""
        line = self._line
        frames = [
            [protocol.SUBSCRIBE, line.next_number(), one.number, one.kind, one.name, one.options]
            for one in self._subscriptions.values()
            if one.live
        ]
        return b"".join(map(line.pack, frames))

    def lose(self) -> None:
        """The relay is gone, and with it every delivery: they come again (lock held)."""
        self.unseen.lose()
        why = "the relay has gone" if self._line.is_open else "the worker has ended"
        self.around.notes.trail.lost(why)
        for subscription in list(self._subscriptions.values()):
            self._stale.update(subscription.lose())
            if not subscription.live:
                self._subscriptions.pop(subscription.number, None)

    def in_hand(self) -> int:
        """Return how many deliveries the service has that are not settled."""
        return sum(len(one.out) for one in list(self._subscriptions.values()))

    def sent_unseen(self, publication: list[Any]) -> bool:
        """Send a message without waiting, if this thread is in the callback of a delivery not settled yet.

        Only then does a lost message bring its delivery back. A message that a timer sends while some
        delivery is out somewhere would be gone for good.
        """
        line = self._line
        with line.lock:
            current = self.around.current()
            if current is None or current.delivery not in current.subscription.out:
                return False
            self.unseen.sent()
            line.post(line.pack([protocol.SEND, line.next_number(), False, publication]))
        return True

    # -- Receiving

    def take(self, frame: Frame) -> None:
        """Act on a frame that answers no question (in the reader)."""
        kind, number = frame[0], frame[1]
        line = self._line
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
                log.error("The subscription to %s has ended: %s", subscription.name, frame[2])

    def _give_back(self, subscription: Subscription) -> None:
        line = self._line
        line.post(line.pack([protocol.RELEASED, subscription.number, subscription.give_back()]))

    def give_back_unseen(self) -> None:
        """Give back what waits in the service's own queue: else its worker would seem to have died of it."""
        line = self._line
        with line.lock:
            for one in self._subscriptions.values():
                unseen = one.unseen()
                if unseen:
                    line.post(line.pack([protocol.RELEASED, one.number, unseen]))

    def hand_out_all(self) -> None:
        """Give every callback what it may have, also what comes while one of them waits (in the reader)."""
        while ready := [one for one in list(self._subscriptions.values()) if one.is_ready]:
            for subscription in ready:
                self._hand_out(subscription)

    def _hand_out(self, subscription: Subscription) -> None:
        lock = self._line.lock
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
            callback = self._callback_of(subscription.number)
            self.around.notes.given()
            callback(headers, frame[5])
        except Exception:
            # Only without an interceptor: the callback has run here, in the reader, which must live on.
            log.exception("A callback of %s failed; its message is delivered again", subscription.name)
            if subscription.is_free(frame[2]):
                self.settle(protocol.NACK, frame[2], subscription.number, requeue=True)

    def _settle_after(self, subscription: Subscription, delivery: int) -> None:
        if subscription.is_free(delivery):
            self.settle(protocol.ACK, delivery, subscription.number)
        else:  # it comes again from the next relay, or the callback has settled it
            self._stale.discard(delivery)

    # -- Settling

    def settle(
        self,
        kind: int,
        delivery: int,
        number: int,
        *,
        multiple: bool = False,
        requeue: bool | str | None = None,
        transaction: Transaction | None = None,
    ) -> None:
        """Settle a delivery of subscription `number`, or have the transaction do it; then hand out the next.

        Raises:
            workflows.Error: it is not in hand.
        """
        if transaction is None and not self._others_are_safe():
            log.warning("What was sent before message %d is lost: it is delivered again", delivery)
            kind, requeue = protocol.NACK, True
        line = self._line
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
                transaction.settle(kind, subscription, covered, requeue)
                return
            line.post(b"".join(line.pack(_settlement(kind, number, one, requeue)) for one in covered))
            self.around.settled(kind, covered, requeue)
            self.settled(subscription, covered)
        self.go_on(subscription)

    def _drop_stale(self, delivery: int, transaction: Transaction | None) -> None:
        if transaction is not None:
            transaction.spoilt = True
            return
        self._stale.discard(delivery)
        log.warning(
            "Message %d came from a relay that is gone: it is delivered again, its settlement is dropped",
            delivery,
        )

    def put_back(self, transaction_id: int, transaction: Transaction) -> None:
        """Have what a transaction that cannot happen would have settled delivered again.

        The service takes it for settled: without this it would stay in hand for as long as the worker lives.
        """
        log.warning(
            "Transaction %d holds a message from a relay that is gone: nothing of it happens, all of its "
            "messages are delivered again",
            transaction_id,
        )
        for subscription, deliveries in transaction.settled:
            for delivery in deliveries:
                if delivery in subscription.out:
                    self.settle(protocol.NACK, delivery, subscription.number, requeue=True)

    def settled(self, subscription: Subscription, deliveries: list[int]) -> None:
        """Note that settlements have been sent (lock held)."""
        subscription.forget(deliveries)
        if not subscription.live and not subscription.out:
            self._subscriptions.pop(subscription.number, None)

    def go_on(self, subscription: Subscription) -> None:
        """Hand out what a settlement has made room for."""
        if not subscription.buffer:
            return
        if self.intercepted:
            # The interceptor only queues the message: no other thread has to wake up for it.
            self._hand_out(subscription)
        elif not subscription.handing:
            # Callbacks run in the reader: wake it with a question whose answer nobody needs.
            self._line.post(self._line.pack([protocol.FLUSH, 0]))


def _settlement(kind: int, number: int, delivery: int, requeue: bool | str | None) -> Frame:
    frame: Frame = [kind, number, delivery, False]
    return [*frame, requeue] if kind == protocol.NACK else frame
