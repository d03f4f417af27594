"""What the recipe-driven services share: how a delivery is taken, and how one is rejected."""

from __future__ import annotations

from typing import Any

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

    def _reject(self, header: dict[str, Any], reason: Rejected) -> None:
        """Send a delivery to the dead-letter queue."""
        self.log.error("Rejected message: %s", reason, exc_info=reason.__cause__)
        self._transport.nack(header)
