"""A way to a broker that can be cut: it drops what goes through, as a broken network does."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Proxy:
    """Listens on a port of its own and passes on what comes to `target`.

    `passing` False keeps all connections open and moves nothing. `port` is one of its own, or that of a proxy
    that was closed.
    """

    def __init__(self, target: tuple[str, int], port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.passing = True
        self._ended = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it and all connections through it."""
        self._ended = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.02) if self.passing else self._dropped():
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._pass_on(key.fileobj, key.data)

    def _dropped(self) -> list:
        # New connections are accepted too, as the kernel of a broker that hangs does.
        ready = [one for one in self._selector.select(0.02) if one[0].fileobj is self._listener]
        threading.Event().wait(0.02)
        return ready

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(self._target)
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
            sink.sendall(data)
        if not data:
            for one in (source, sink):
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(one)
                one.close()
