"""A service for the nodes of recipes: what it does with a message, the parameter `do` of the node says."""

import os
import signal
import time
from pathlib import Path

import workflows.recipe
from workflows.services.common_service import CommonService


class Node(CommonService):
    """Sends each message on `times` times, and acknowledges it, unless it is to do something else first."""

    _service_name = "Node"
    _logger_name = "trial.node"

    def initializing(self):
        workflows.recipe.wrap_subscribe(
            self._transport, self._environment["queue"], self.receive, acknowledgement=True
        )

    def receive(self, wrapper, header, message):
        parameters = wrapper.recipe_step["parameters"]
        what, _, value = str(parameters.get("do", "")).partition(" ")
        if what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "raise":
            raise ValueError("no such spot")
        if what == "hang":
            time.sleep(3600)
        if what == "wait":
            while not Path(value).exists():
                time.sleep(0.01)
        if what == "reject":
            self._transport.nack(header, reason="no image in this file")
            return
        for _ in range(parameters.get("times", 1)):
            wrapper.send(message)
        if what == "transaction":
            transaction = self._transport.transaction_begin(subscription_id=header["subscription"])
            self._transport.ack(header, transaction=transaction)
            self._transport.transaction_commit(transaction)
            return
        self._transport.ack(header)
