"""A client without the daemon: a program with a transport of workflows, told by standard input what to do.

Each line is a JSON list [call, arguments, options]; each line of its output a JSON map: what a call
returned, or a message that has arrived. Run as a program of its own, because transports of workflows keep
what they know in their class.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from typing import Any

from tests.waiting import wait_until


class PlainClient:
    """The process, seen from a test.

    Args:
        name: of the transport, an entry point of workflows.transport.
        settings: its configuration.
    """

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "tests.brokers.plainclient", name, json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.arrived: list[dict[str, Any]] = []
        self._returned: list[Any] = []
        self._calls = 0
        threading.Thread(target=self._read, daemon=True).start()
        self.call("is_connected")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            item = json.loads(line)
            if "returned" in item:
                self._returned.append(item["returned"])
            else:
                self.arrived.append(item)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the transport and return what it returns; None for what is no plain value."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, args, options]).encode() + b"\n")
        self._process.stdin.flush()
        self._calls += 1
        wait_until(
            lambda: len(self._returned) == self._calls or self._process.poll() is not None,
            f"{method} to return",
        )
        assert self._process.poll() is None, f"the client ended in {method}"
        return self._returned[-1]

    def wait(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many messages have arrived, and return them."""
        wait_until(lambda: len(self.arrived) >= count, f"{count} messages at the plain client")
        return self.arrived

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def plain(value: Any) -> Any:
    """Return a value that JSON can carry, and that shows what it was."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def main(name: str, settings: dict[str, Any]) -> None:
    """Do what standard input says, until it ends."""
    from workflows import transport as transports  # noqa: PLC0415

    made = transports.lookup(name)
    made.config = settings
    transport = made()
    lock = threading.Lock()

    def say(item: dict[str, Any]) -> None:
        with lock:
            sys.stdout.write(json.dumps(item) + "\n")
            sys.stdout.flush()

    def arrived(header: dict[str, Any], message: Any) -> None:
        say({"header": plain(header), "message": plain(message)})

    transport.connect()
    for line in sys.stdin:
        method, args, options = json.loads(line)
        if method.startswith("subscribe"):
            args.insert(1, arrived)
        say({"returned": plain(getattr(transport, method)(*args, **options))})


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
