"""What services of sites do, beside receiving, sending and acknowledging."""

from __future__ import annotations

import time

import msgpack
import workflows.recipe
import workflows.transport
from workflows.services.common_service import CommonService


class Watcher(CommonService):
    """Looks three times, each time as a checkpoint of its message, and then goes on with the recipe."""

    _service_name = "Watcher"
    _logger_name = "wild.watcher"

    def initializing(self):
        workflows.recipe.wrap_subscribe(
            self.transport, "watch", self.look, acknowledgement=True, log_extender=self.extend_log
        )

    def look(self, rw, header, message):
        transaction = self.transport.transaction_begin(subscription_id=header["subscription"])
        self.transport.ack(header, transaction=transaction)
        seen = message.get("seen", 0) + 1
        if seen < 3:
            rw.checkpoint({"seen": seen}, delay=0.1, transaction=transaction)
        else:
            rw.send({"seen": seen}, transaction=transaction)
        self.transport.transaction_commit(transaction)


class Endless(CommonService):
    """Never leaves `initializing`, and works all the same."""

    _service_name = "Endless"

    def initializing(self):
        number = 0
        while True:
            self.transport.send("endless", number)
            number += 1
            time.sleep(0.05)


class Pairing(CommonService):
    """Keeps a message until a second one has come."""

    _service_name = "Pairing"

    def initializing(self):
        self.first = None
        self.transport.subscribe("pair", self.receive, acknowledgement=True, prefetch_count=2)

    def receive(self, header, message):
        if self.first is None:
            self.first = header, message
            return
        transaction = self.transport.transaction_begin()
        for one in (self.first[0], header):
            self.transport.ack(one, transaction=transaction)
        self.transport.send("pairs", [self.first[1], message], transaction=transaction)
        self.transport.transaction_commit(transaction)
        self.first = None


class Packed(CommonService):
    """Speaks msgpack instead of JSON."""

    _service_name = "Packed"

    def initializing(self):
        self.transport._mangle_for_receiving = msgpack.unpackb
        self.transport.subscribe("packed", self.receive)

    def receive(self, header, message):
        self.transport.send("unpacked", message)


class Whole(CommonService):
    """Uses all that CommonService gives to its subclasses, and says what it has found."""

    _service_name = "Whole"
    _logger_name = "wild.whole"

    def initializing(self):
        self._set_name("the whole of it")
        self._register("band", print)
        self._register_idle(0.1, self.idle)
        self.transport.subscribe("whole", self.receive, acknowledgement=True)

    def idle(self):
        if hasattr(self, "found"):
            return
        with self.extend_log("beamline", "i03"):
            self.log.info("extended")
        self.found = {
            "name": self.get_name(),
            "storage": self.config.storage["place"],
            "environment": sorted(self._environment),
            "live": self._environment["live"],
            "kwargs": self.start_kwargs,
            "verbosity": self.log_verbosity,
        }
        self.transport.send("found", self.found)

    def receive(self, header, message):
        self.transport.ack(header)
        if message == "terminate":
            self._request_termination()
        else:
            self._shutdown()

    def in_shutdown(self):
        self.transport.send("found", "in_shutdown")


class Astray(CommonService):
    """Sends by a transport of its own, which the daemon knows nothing of."""

    _service_name = "Astray"

    def initializing(self):
        self.own = workflows.transport.lookup("PikaTransport")()
        self.own.connect()
        self.transport.subscribe("near", self.receive, acknowledgement=True)

    def receive(self, header, message):
        self.own.send(self._environment["queue"], message)
        self.transport.ack(header)
