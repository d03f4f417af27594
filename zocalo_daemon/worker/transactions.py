"""The transactions of a transport that are open, and how each of them ends."""

from __future__ import annotations

import workflows

from zocalo_daemon.worker.connection import Connection
from zocalo_daemon.worker.inbox import Inbox
from zocalo_daemon.worker.subscription import Transaction


class Transactions:
    """Open transactions by number.

    Args:
        inbox: has the deliveries that they settle.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._open: dict[int, Transaction] = {}

    def begin(self, number: int) -> None:
        """Open one."""
        self._open[number] = Transaction()

    def get(self, number: int) -> Transaction:
        """Return an open transaction.

        Raises:
            workflows.Error: it has ended, or was never begun.
        """
        transaction = self._open.get(number)
        if transaction is None:
            raise workflows.Error(f"there is no transaction {number}: it has ended, or was never begun")
        return transaction

    def clear(self) -> None:
        """Forget all: the transport is disconnected."""
        self._open.clear()

    def abort(self, number: int, line: Connection) -> None:
        """Let nothing of a transaction happen."""
        with line.lock:
            self._open.pop(number).release()

    def commit(self, number: int, line: Connection) -> None:
        """Have all of a transaction happen; wait for it only if it settles nothing.

        Raises:
            workflows.Error: the relay refuses it.
        """
        with line.lock:
            transaction = self._open.pop(number)
            # Whatever happens below, its deliveries can be settled by others from here on.
            transaction.release()
            if transaction.settled and not transaction.spoilt:
                line.post(line.pack(transaction.frame(line.next_number(), wait=False)))
                for kind, _number, delivery, _multiple, requeue in transaction.settlements:
                    self._inbox.around.settled(kind, [delivery], requeue)
                for subscription, deliveries in transaction.settled:
                    self._inbox.settled(subscription, deliveries)
        if transaction.spoilt:
            self._inbox.put_back(number, transaction)
            return
        if not transaction.settled:
            line.ask(transaction.frame(0, wait=True))
        for subscription, _deliveries in transaction.settled:
            self._inbox.go_on(subscription)
