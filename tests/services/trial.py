"""Services that the tests run: ordinary third-party services, as a site would write them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from workflows.services.common_service import CommonService


class Recorder(CommonService):
    """Appends each message of a queue to a file, one line each, before it acknowledges."""

    _service_name = "Recorder"
    _logger_name = "trial.recorder"

    def initializing(self):
        self.file = Path(self._environment["file"])
        self.transport.subscribe(self._environment["queue"], self.receive, acknowledgement=True)

    def receive(self, header, message):
        with self.file.open("a") as file:
            file.write(f"{message}\n")
        self.transport.ack(header)


class Rejecter(CommonService):
    """Rejects every message."""

    _service_name = "Rejecter"
    _logger_name = "trial.rejecter"

    def initializing(self):
        self.transport.subscribe("reject", self.receive, acknowledgement=True)

    def receive(self, header, message):
        self.transport.nack(header)


class Forwarder(CommonService):
    """Sends each message on to the next queue, then acknowledges it."""

    _service_name = "Forwarder"
    _logger_name = "trial.forwarder"

    def initializing(self):
        self.transport.subscribe(self._environment["source"], self.receive, acknowledgement=True)

    def receive(self, header, message):
        self.transport.send(self._environment["target"], message)
        self.transport.ack(header)


class TransactionForwarder(Forwarder):
    """The same in a transaction."""

    def receive(self, header, message):
        transaction = self.transport.transaction_begin(subscription_id=header["subscription"])
        self.transport.send(self._environment["target"], message, transaction=transaction)
        self.transport.ack(header, transaction=transaction)
        self.transport.transaction_commit(transaction)


class Slow(CommonService):
    """Takes its time over each message; files tell how far it is: `started`, `finished`, `shutdown`."""

    _service_name = "Slow"
    _logger_name = "trial.slow"

    def initializing(self):
        self.directory = Path(self._environment["directory"])
        self.transport.subscribe("slow", self.receive, acknowledgement=True)

    def receive(self, header, message):
        (self.directory / "started").touch()
        time.sleep(float(message))
        (self.directory / "finished").touch()
        self.transport.ack(header)

    def in_shutdown(self):
        (self.directory / "shutdown").touch()


class Goodbye(CommonService):
    """Takes half a second over a message, and sends it on; sends a last one when it is told to stop."""

    _service_name = "Goodbye"
    _logger_name = "trial.goodbye"

    def initializing(self):
        self.transport.subscribe("hello", self.receive, acknowledgement=True)

    def receive(self, header, message):
        Path(self._environment["file"]).touch()
        time.sleep(0.5)
        self.transport.send("farewell", message)
        self.transport.ack(header)

    def in_shutdown(self):
        self.transport.send("farewell", "last")


class Clinger(CommonService):
    """Leaves a process with every descriptor of its own behind, then dies over its first message.

    The process, in a session of its own, ends once the file with its pid is gone.
    """

    _service_name = "Clinger"

    def initializing(self):
        self.transport.subscribe("cling", self.receive, acknowledgement=True)

    def receive(self, header, message):
        file = Path(self._environment["file"])
        if not file.exists():
            if os.fork() == 0:
                os.setsid()
                file.with_suffix(".new").write_text(str(os.getpid()))
                file.with_suffix(".new").rename(file)
                while file.exists():
                    time.sleep(0.01)
                os._exit(0)
            while not file.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        self.transport.send("out", message)
        self.transport.ack(header)


class Fragile(CommonService):
    """Does not become ready while the file `broken` exists."""

    _service_name = "Fragile"
    _logger_name = "trial.fragile"

    def initializing(self):
        if Path(self._environment["broken"]).exists():
            raise RuntimeError("it is broken")


class Chatty(CommonService):
    """Floods its standard output from the start."""

    _service_name = "Chatty"

    def initializing(self):
        self._register_idle(0.001, self.chat)

    def chat(self):
        line = "x" * 200 + "\n"
        while not os.path.exists(self._environment["quiet"]):  # noqa: PTH110 - it must be fast
            sys.stdout.write(line * 100)


class Parent(CommonService):
    """Starts a process of its own that ignores SIGTERM; its pid goes to a file."""

    _service_name = "Parent"

    def initializing(self):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(60)
        Path(self._environment["file"]).write_text(str(pid))


class Abandoner(CommonService):
    """Leaves a process behind that leads a session of its own, and soon ends."""

    _service_name = "Abandoner"

    def initializing(self):
        if os.fork() == 0:
            os.setsid()
            pid = os.fork()
            if pid:
                Path(self._environment["file"]).write_text(str(pid))
            else:
                time.sleep(1)
            os._exit(0)


class Stubborn(CommonService):
    """Never leaves its callback."""

    _service_name = "Stubborn"

    def initializing(self):
        self._register_idle(0.01, self.hang)

    def hang(self):
        while True:
            time.sleep(60)


class Counter(CommonService):
    """Prints numbers, one to a line, a few hundred in a second."""

    _service_name = "Counter"

    def initializing(self):
        self.number = 0
        self._register_idle(0.002, self.count)

    def count(self):
        sys.stdout.write(f"{self.number}\n")
        sys.stdout.flush()
        self.number += 1


class Gate(CommonService):
    """Does not become ready before the file `gate` exists."""

    _service_name = "Gate"

    def initializing(self):
        while not Path(self._environment["gate"]).exists():
            time.sleep(0.01)


class HalfLine(CommonService):
    """Writes half a line, and the rest of it once the file `gate` exists."""

    _service_name = "HalfLine"

    def initializing(self):
        self.gate = Path(self._environment["gate"])
        os.write(1, b"the first half ")
        self.gate.with_suffix(".half").touch()
        self._register_idle(0.01, self.go_on)

    def go_on(self):
        if self.gate.exists():
            os.write(1, b"and the second\n")
            time.sleep(3600)


class Quitter(CommonService):
    """Ends by itself, cleanly, shortly after it has started."""

    _service_name = "Quitter"

    def initializing(self):
        self._register_idle(0.05, self._shutdown)


class Version(CommonService):
    """Writes the interpreter's version and its own `CODE` to a file."""

    _service_name = "Version"
    CODE = "one"

    def initializing(self):
        Path(self._environment["file"]).write_text(f"{sys.version_info[:2]} {self.CODE}")


class Stage(CommonService):
    """One stage of the soak test: notes each message with time and pid, sends it on, acknowledges it.

    The environment says `source`, `target` (absent at the end), `file`, and whether to use a transaction.
    """

    _service_name = "Stage"
    _logger_name = "trial.stage"

    def initializing(self):
        self.target = self._environment.get("target")
        path = self._environment["file"]
        self.notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.transport.subscribe(self._environment["source"], self.receive, acknowledgement=True)

    def receive(self, header, message):
        os.write(self.notes, f"{message} {time.time():.6f} {os.getpid()}\n".encode())
        if not self._environment.get("transaction"):
            if self.target:
                self.transport.send(self.target, message)
            self.transport.ack(header)
            return
        transaction = self.transport.transaction_begin(subscription_id=header["subscription"])
        self.transport.ack(header, transaction=transaction)
        if self.target:
            self.transport.send(self.target, message, transaction=transaction)
        self.transport.transaction_commit(transaction)


class Misrouter(Forwarder):
    """Sends to an exchange that is not there."""

    def receive(self, header, message):
        self.transport.send(self._environment["target"], message, exchange="nowhere")
        self.transport.ack(header)
