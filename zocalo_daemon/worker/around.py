"""What happens around a callback of the service: which delivery each thread is at, and the notes about it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.worker import messages
from zocalo_daemon.worker.board import SILENT, Silent
from zocalo_daemon.worker.subscription import Subscription
from zocalo_daemon.worker.trail import Run

Callback = Callable[[Mapping[str, Any], Any], Any]


class At:
    """A delivery whose callback a thread runs, and its run if it is noted in the trail."""

    __slots__ = ("delivery", "run", "subscription")

    def __init__(self, subscription: Subscription, delivery: int) -> None:
        self.subscription, self.delivery = subscription, delivery
        self.run: Run | None = None


class Around:
    """The callbacks of a transport.

    Args:
        settle_after: settles a delivery whose callback has returned, for a subscription that settles itself.
    """

    def __init__(self, settle_after: Callable[[Subscription, int], None]) -> None:
        self._settle_after = settle_after
        self._here = threading.local()  # .at: an At
        self.notes: Silent = SILENT

    def current(self) -> At | None:
        """Return where the thread that runs is, None outside of callbacks."""
        return getattr(self._here, "at", None)

    def tracked(self, subscription: Subscription, callback: Callback) -> Callback:
        """Return the callback with what has to happen around it, in the thread that runs it."""
        settles_itself = subscription.settles_itself
        settled_by_nobody = subscription.kind == protocol.TOPIC
        here, notes = self._here, self.notes

        def tracked(header: Mapping[str, Any], message: Any) -> None:
            delivery = header["message-id"]
            if delivery in subscription.out:
                subscription.seen.add(delivery)
            outer: At | None = getattr(here, "at", None)
            at = here.at = At(subscription, delivery)
            begun = notes.begin(0 if settled_by_nobody else delivery)
            try:
                callback(header, message)
            except BaseException as e:
                if at.run is not None:
                    at.run.raised(e)
                raise
            finally:
                here.at = outer
                notes.end(outer.delivery if outer is not None else None, begun)
                if at.run is not None:
                    notes.trail.end(at.run)
            if settles_itself:
                self._settle_after(subscription, delivery)

        return tracked

    def settled(self, kind: int, deliveries: list[int], requeue: Any) -> None:
        """Deliveries were settled by ACK or NACK."""
        if (trail := self.notes.trail).open:
            for delivery in deliveries:
                trail.settled(kind, delivery, requeue)

    # -- Messages that are read and written here anyway, so the trail reads none a second time

    def arrived(self, data: Any) -> Any:
        """Return the message that a callback is about to get."""
        message = messages.from_json(data)
        if type(message) is dict and "recipe-pointer" in message:
            at: At | None = getattr(self._here, "at", None)
            if at is not None:
                subscription = at.subscription
                number = 0 if subscription.kind == protocol.TOPIC else at.delivery
                at.run = self.notes.trail.begin(message, subscription.name, number)
        return message

    def leaving(self, message: Any) -> Any:
        """Return the bytes or text of a message that is about to be sent."""
        if type(message) is dict and "recipe-pointer" in message:
            at: At | None = getattr(self._here, "at", None)
            self.notes.trail.sent(message, at.run if at is not None else None)
        return messages.to_json(message)
