"""One client of the control socket: its hello, its open requests, what it has not read yet.

Nothing here blocks. A client that does not read is no longer read from either; what it cannot be told is
bounded: chunks of followers are dropped and counted, and too much of anything else closes the connection.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zocalo_daemon.control.outbox import Outbox
from zocalo_daemon.control.request import Peer, Request, describe
from zocalo_daemon.control.roles import Rights
from zocalo_daemon.errors import NotPermitted, ProtocolError, Unavailable, UsageError, ZocaloError
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import Decoder, Frame, encode
from zocalo_daemon.supervision.handover import Leaving

MAX_HELLO = 4096  # bytes until the hello must be complete
MAX_REFUSALS = 10  # of one client, that are logged
MAX_OPEN = 64  # requests of one client that are not answered yet
MAX_OUTPUT = 8 * 1024 * 1024  # bytes that one client has not read, everything counted
PAUSE_OUTPUT = 256 * 1024  # above this, the client's own requests wait
FRAMES_PER_TURN = 8  # then other descriptors have their turn
_PLAIN = (
    "peer",
    "rights",
    "greeted",
    "pieces",
    "_received",
    "_refusals",
)  # attributes that are handed over as they are


class Connection:
    """A connected client.

    Args:
        handler: is given every request that is allowed; may raise ZocaloError.
        log: is told one line for every change that somebody asks for.
        on_close: is told once that the connection is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        selector: selectors.BaseSelector,
        peer: Peer,
        rights: Rights,
        *,
        version: str,
        handler: Callable[[Request], None],
        log: Callable[[str], None],
        on_close: Callable[[Connection], None],
    ) -> None:
        self.peer = peer
        self.rights = rights
        self.greeted = False
        self.pieces: list[Any] = []  # origin and size of a body that takes several requests
        self._sock = sock
        self._selector = selector
        self._version = version
        self._handler = handler
        self._log = log
        self._on_close = on_close
        self._decoder = Decoder()
        self._frames: Iterator[Frame] | None = None  # received, not yet looked at
        self._received = 0  # bytes, until the hello
        self._requests: dict[int, Request] = {}
        self._output = Outbox()
        self._refusals = 0
        self._closed = False
        sock.setblocking(False)
        self._events = selectors.EVENT_READ
        selector.register(sock, self._events, self.ready)

    # -- called by the loop

    def ready(self, mask: int) -> None:
        """Read, write and answer what can be without waiting; `mask` is that of selectors."""
        if self._closed:  # by another callback of the same turn of the loop
            return
        if mask & selectors.EVENT_WRITE:
            self._flush()
        try:
            if mask & selectors.EVENT_READ and self._frames is None and not self._closed:
                self._read()
            self._take_frames()
        except ProtocolError as e:
            self.refuse(e)
        self._update_interest()

    def refuse(self, problem: ZocaloError) -> None:
        """Say what is wrong with the connection itself, and close it."""
        self._push(encode(control.error(0, problem)))
        self._flush()
        self.close()

    def close(self) -> None:
        """Close the connection and abandon what it has asked for."""
        if self._closed:
            return
        self._closed = True
        self._selector.unregister(self._sock)
        self._sock.close()
        self._frames = None
        self._output = Outbox()
        requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            request.abandon()
        self._on_close(self)

    # -- over to newer code

    def hand_over(self, leaving: Leaving) -> dict[str, Any]:
        """Return what `take_over` makes the same client of."""
        state: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        state["socket"] = leaving.keep(self._sock)
        state["input"], state["output"] = self._decoder.rest, self._output.hand_over()
        state["requests"] = [request.hand_over() for request in self._requests.values()]
        return state

    def take_over(
        self, state: Mapping[str, Any], resume: Callable[[Request, dict[str, Any] | None], None]
    ) -> None:
        """Go on as the old code would have; `resume` gets each open request, and how it is gone on with."""
        for name in _PLAIN:
            setattr(self, name, state[name])
        self._decoder = Decoder(rest=state["input"])
        self._frames = self._decoder.feed(b"")
        self._output.take_over(state["output"])
        for one in state["requests"]:
            request = Request(self, one["number"], one["op"], {})
            request.missed = one["missed"]
            self._requests[request.number] = request
            resume(request, one["resume"])
        self._update_interest()

    # -- called by requests

    def send_final(self, request: Request, frame: Frame) -> None:
        """Send the answer of a request."""
        self._requests.pop(request.number, None)
        try:
            data = encode(frame)
        except ProtocolError as e:
            data = encode(
                control.error(request.number, ZocaloError(f"the answer cannot be sent: {e.message}"))
            )
        self._push_missed(request)
        self._push(data)
        if self._output.size <= MAX_OUTPUT:
            self._flush()
        else:
            self.close()
        self._update_interest()

    def send_chunk(self, request: Request, value: Any) -> bool:
        """Send an item of a follower, or count it as missed."""
        if request.missed and self._output.behind(2):
            request.missed += 1
            return False
        data = encode(control.chunk(request.number, value))
        if self._output.behind(1, len(data)):
            self._flush()
        if self._closed or self._output.behind(1, len(data)):
            request.missed += 1
            return False
        self._push_missed(request)
        self._push(data, is_chunk=True)
        self._update_interest()
        return True

    # -- input

    def _read(self) -> None:
        try:
            data = self._sock.recv(64 * 1024 if self.greeted else MAX_HELLO)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._frames = self._decoder.feed(data)
        self._received += len(data)

    def _take_frames(self) -> None:
        for _ in range(FRAMES_PER_TURN):
            if self._frames is None or self._output.size > PAUSE_OUTPUT:
                return
            frame = next(self._frames, None)
            if frame is None:
                self._frames = None
                if not self.greeted and self._received >= MAX_HELLO:
                    raise ProtocolError(f"no hello within {MAX_HELLO} bytes")
            elif self.greeted:
                self._take(frame)
            else:
                control.agree(frame)
                self.greeted = True
                self._push(encode(control.daemon_hello(self._version, self.rights.role)))
                self._flush()

    def _take(self, frame: Frame) -> None:
        if "cancel" in frame:
            self._cancel(frame["cancel"])
            return
        number, op, args = frame.get("id"), frame.get("op"), frame.get("args", {})
        if type(number) is not int or not 0 < number < 2**63 or number in self._requests:
            raise ProtocolError("a request needs an id: a positive number that no open request has")
        if not isinstance(op, str) or not isinstance(args, dict):
            raise ProtocolError("a request needs an op (text) and args (a map)")
        request = Request(self, number, op, args)
        problem = self._objection(op)
        if problem is not None:
            request.error(problem)
            return
        self._requests[number] = request
        if control.OPERATIONS[op] != "view" and op != "piece":  # of which one `send` has many
            self._log(f"{self._who()} asked for {describe(op, args)}")
        self._handle(request)

    def _objection(self, op: str) -> ZocaloError | None:
        if op not in control.OPERATIONS:
            return UsageError(f"this daemon ({self._version}) knows no operation {op[:40]!r}")
        if problem := self.rights.objection(op):
            self._refused(op, problem)
            return problem
        if len(self._requests) >= MAX_OPEN:
            return Unavailable(f"{MAX_OPEN} requests of this connection are open: wait for an answer")
        return None

    def _refused(self, op: str, problem: NotPermitted) -> None:
        self._refusals += 1
        if self._refusals <= MAX_REFUSALS:
            self._log(f"{self._who()} was refused {op}: {problem.message}")

    def _handle(self, request: Request) -> None:
        try:
            self._handler(request)
        except NotPermitted as e:
            self._refused(request.op, e)
            request.error(e)
        except ZocaloError as e:
            request.error(e)
        except Exception as e:  # a defect of one operation must not end the supervisor
            import traceback  # noqa: PLC0415 - the new code of a reexec does without

            self._log(f"{request.op} failed: {traceback.format_exc()}")
            request.error(ZocaloError(f"{request.op} failed in the daemon: {type(e).__name__}; see its log"))

    def _cancel(self, number: Any) -> None:
        request = self._requests.get(number) if type(number) is int else None
        if request is not None:
            request.abandon()
            self.send_final(request, control.ok(request.number, None))

    def _who(self) -> str:
        return f"uid {self.peer.uid}, pid {self.peer.pid} ({self.peer.command})"

    # -- output

    def _push(self, data: bytes, is_chunk: bool = False) -> None:
        if not self._closed:
            self._output.push(data, is_chunk)

    def _push_missed(self, request: Request) -> None:
        if request.missed:
            self._push(encode(control.missed(request.number, request.missed)))
            request.missed = 0

    def _flush(self) -> None:
        if self._closed:
            return
        try:
            self._output.write(self._sock)
        except OSError:  # the client is gone
            self.close()
            return
        if not self._output.behind(2):
            for request in list(self._requests.values()):
                self._push_missed(request)

    def _update_interest(self) -> None:
        if self._closed:
            return
        events = 0
        if self._output or self._frames is not None:  # writable also means: go on with what was received
            events |= selectors.EVENT_WRITE
        if self._frames is None and self._output.size <= PAUSE_OUTPUT:
            events |= selectors.EVENT_READ
        if events != self._events:
            self._events = events
            self._selector.modify(self._sock, events, self.ready)
