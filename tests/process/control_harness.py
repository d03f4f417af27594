"""A control server in a loop like the supervisor's, and a client that says exactly what it is told to."""

import contextlib
import selectors
import socket
import threading

from tests.waiting import DEADLINE
from zocalo_daemon.control.roles import Rights
from zocalo_daemon.control.server import ControlServer
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import Decoder, encode


class Daemon:
    """A loop like the supervisor's, in a thread of its own; requests are kept, or answered by `handler`."""

    def __init__(self, path, role="admin", handler=None, **options):
        self.path = path
        self.role = role
        self.handler = handler
        self.requests = []
        self.lines = []
        self.turns = 0
        self.asked_about = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(600)
        self.selector = selectors.DefaultSelector()
        self.wake, self.woken = socket.socketpair()
        self.jobs = []
        self.selector.register(self.woken, selectors.EVENT_READ, self._run_jobs)
        self.server = ControlServer(
            self.listener,
            self.selector,
            version="9.9",
            rights_of=self._rights_of,
            handler=self._handle,
            log=self.lines.append,
            **options,
        )
        self.running = True
        self.thread = threading.Thread(target=self._loop)
        self.thread.start()

    def _rights_of(self, uid, gid, pid, groups):
        self.asked_about.append((uid, gid, pid, groups))
        return Rights(self.role)

    def _handle(self, request):
        self.requests.append(request)
        if self.handler:
            self.handler(request)

    def _loop(self):
        while self.running:
            for key, mask in self.selector.select():
                self.turns += 1
                key.data(mask)

    def _run_jobs(self, _mask):
        self.woken.recv(100)
        while self.jobs:
            self.jobs.pop(0)()

    def do(self, job):
        """Run something in the loop's thread and return what it returns."""
        done = threading.Event()
        result = []

        def run():
            result.append(job())
            done.set()

        self.jobs.append(run)
        self.wake.send(b"x")
        assert done.wait(DEADLINE)
        return result[0]

    def stop(self):
        def end():
            self.running = False
            self.server.close()

        self.do(end)
        self.thread.join(DEADLINE)
        for each in (self.listener, self.selector, self.wake, self.woken):
            each.close()


class Client:
    """A client that says exactly what it is told to."""

    def __init__(self, path, greet=True):
        """Connect to `path`, or take over a connection."""
        self.sock = path if isinstance(path, socket.socket) else socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        if self.sock is not path:
            self.sock.connect(str(path))
        self.decoder = Decoder()
        self.frames = []
        self.hello = None
        if greet:
            self.send(control.client_hello("test"))
            self.hello = self.receive()["hello"]

    def send(self, *frames):
        self.sock.sendall(b"".join(map(encode, frames)))

    def receive(self):
        while not self.frames:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.frames.extend(self.decoder.feed(data))
        return self.frames.pop(0)

    def ask(self, number, op, **args):
        self.send(control.request(number, op, args))

    def closed(self):
        """Tell whether the daemon closes the connection, rather than sending more."""
        with contextlib.suppress(ConnectionError, EOFError):
            self.receive()
            return False
        return True

    def close(self):
        self.sock.close()
