"""Services whose spans the tests look at."""

from __future__ import annotations

import workflows.recipe
from workflows.services.common_service import CommonService


class Stage(CommonService):
    """A step of a recipe on the queue `stage`: logs, and goes on with the recipe."""

    _service_name = "Stage"
    _logger_name = "tracing.stage"

    def initializing(self):
        workflows.recipe.wrap_subscribe(
            self.transport, "stage", self.step, acknowledgement=True, log_extender=self.extend_log
        )

    def step(self, rw, header, message):
        transaction = self.transport.transaction_begin(subscription_id=header["subscription"])
        self.transport.ack(header, transaction=transaction)
        rw.send(message, transaction=transaction)
        self.transport.transaction_commit(transaction)
        self.log.info("stepped")


class Sink(CommonService):
    """Takes anything from the queue `sink`, the headers of no recipe too, and says how much."""

    _service_name = "Sink"
    _logger_name = "tracing.sink"

    def initializing(self):
        self.count = 0
        self.transport.subscribe("sink", self.take, acknowledgement=True)

    def take(self, header, message):
        self.count += 1
        if self.count % 100 == 0:
            self.log.info("%d taken", self.count)
        self.transport.ack(header)
