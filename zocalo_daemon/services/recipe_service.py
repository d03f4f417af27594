"""What the recipe-driven services share: how a delivery is taken, and how one is rejected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import workflows
from workflows.services.common_service import CommonService

from zocalo_daemon.services.envelope import Rejected, recipe_context, unwrap


class RecipeService(CommonService):
    """A service whose messages come in the envelope of a recipe, or without one."""

    def process(self, wrapper: Any, header: dict[str, Any], message: Any) -> None:
        """Do what a message asks for, and settle it now or later.

        Args:
            wrapper: the RecipeWrapper, or None without an envelope.

        Raises:
            Rejected: it can never be processed.
        """
        raise NotImplementedError

    def receive(self, header: dict[str, Any], message: Any) -> None:
        """Take one delivery; what is rejected becomes a dead letter."""
        try:
            wrapper, payload = unwrap(header, message, self._transport)
        except Rejected as e:
            self._reject(header, e)
            return
        with recipe_context(wrapper, self.extend_log):
            try:
                self.process(wrapper, header, payload)
            except Rejected as e:
                self._reject(header, e)

    def _pass_on(self, header: dict[str, Any], send: Callable[[int], Any]) -> None:
        """Acknowledge a delivery and send what comes of it in one transaction: both happen or neither.

        Raises:
            Rejected: the transport would not take what was to be sent.
            workflows.Disconnected: there is no transport any more.
        """
        transaction = self._transport.transaction_begin(subscription_id=header.get("subscription"))
        try:
            self._transport.ack(header, transaction=transaction)
            send(transaction)
        except workflows.Disconnected:
            raise
        except Exception as e:  # no queue of that name, a value that JSON does not know, ...
            self._transport.transaction_abort(transaction)
            raise Rejected(f"what it asks for cannot be sent: {type(e).__name__}: {e}") from e
        try:
            self._transport.transaction_commit(transaction)
        except workflows.Disconnected:
            raise
        except workflows.Error as e:
            raise Rejected(f"what it asks for cannot be sent: {e}") from e

    def _reject(self, header: dict[str, Any], reason: Rejected) -> None:
        """Send a delivery to the dead-letter queue."""
        self.log.error("Rejected message: %s", reason, exc_info=reason.__cause__)
        self._transport.nack(header, reason=reason)
