"""The relay, seen from the supervisor: start it, restart it, ask it, hear what it reports.

Requests survive the relay's death: what was not answered is asked again of the next one, and a publication
carries its origin so that it is stored only once. A relay that gives up while it starts (its database is
damaged) has said why: requests are then refused with its reason, for the next one will do the same.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zocalo_daemon.errors import ProtocolError, Unavailable, ZocaloError
from zocalo_daemon.protocol import framing, link
from zocalo_daemon.supervision import process
from zocalo_daemon.supervision.events import Exit
from zocalo_daemon.supervision.handover import Leaving, Taking
from zocalo_daemon.supervision.logpipe import LogPipe
from zocalo_daemon.supervision.logs import LogBook

WRITES_PER_TURN = 8  # of 64 KiB: a relay that reads as fast would keep the loop from all others
MAX_REQUESTS = 1000  # unanswered ones, before new ones are refused
_PLAIN = ("pid", "state", "trouble", "_number")  # attributes that are handed over as they are

Answer = Callable[[Any, ZocaloError | None], None]


class Relay:
    """The relay process and its link. `start` may be called again once `on_end` was called.

    Args:
        on_end: called with how it ended.
        on_figures: called with every report of figures.
        index: which of several it is, from 0.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        logbook: LogBook,
        *,
        on_ready: Callable[[], None],
        on_end: Callable[[Exit], None],
        on_figures: Callable[[dict[str, Any]], None],
        index: int = 0,
    ) -> None:
        self.index, self.name = index, f"relay {index}" if index else "relay"
        self.pid = 0
        self.state = "stopped"
        self.trouble = ""  # why it does not start
        self._pidfd = -1
        self._link: socket.socket | None = None
        self._pipe: LogPipe | None = None
        self._selector = selector
        self._log = logbook
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_figures = on_figures
        self.on_command: Callable[[dict[str, Any]], None] = lambda _frame: None  # that was broadcast
        self._decoder = framing.Decoder(link.MAX_FRAME)
        self._output = bytearray()
        self._requests: dict[int, tuple[framing.Frame, Answer]] = {}
        self._once: set[int] = set()  # those of `_requests` that only this relay can answer
        self._number = 0

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], settings: Mapping[str, Any], listener: int
    ) -> None:
        """Start the process; `listener` is the socket that workers connect to, which outlives it.

        Raises:
            OSError: the interpreter cannot be run.
        """
        started = process.start_with(argv, env, settings, process.link_pair(), {5: listener})
        self.pid, self._pidfd, self._link = started.pid, started.pidfd, started.end
        self.state = "starting"
        self._decoder, self._output = framing.Decoder(link.MAX_FRAME), bytearray()
        self._pipe = LogPipe(started.log, self.name, self._selector, self._log)
        self._listen(self._link)
        for frame, _ in self._requests.values():
            self._output += framing.encode(frame, link.MAX_FRAME)
        self._write()

    def _listen(self, end: socket.socket) -> None:
        self._selector.register(end, selectors.EVENT_READ, self._on_link)
        self._selector.register(self._pidfd, selectors.EVENT_READ, self._ended)

    def hand_over(self, leaving: Leaving) -> dict[str, Any]:
        """Return what `take_over` makes the same relay of; but for its requests, see `resume`."""
        state: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        if self._link and self._pipe:
            state["link"] = leaving.keep(self._link)
            state["pidfd"] = leaving.keep(self._pidfd)
            state["log"] = self._pipe.hand_over(leaving)
            state["input"], state["output"] = self._decoder.rest, bytes(self._output)
        return state

    def take_over(self, state: Mapping[str, Any], taking: Taking) -> None:
        """Go on with the relay of the old code, if there was one."""
        for name in _PLAIN:
            setattr(self, name, state[name])
        if "link" not in state:
            return
        self._link, self._pidfd = taking.socket(state["link"]), taking.pidfd(state["pidfd"])
        self._link.setblocking(False)
        self._pipe = LogPipe.take_over(state["log"], taking, self._selector, self._log)
        self._decoder = framing.Decoder(link.MAX_FRAME, state["input"])
        self._output = bytearray(state["output"])
        self._listen(self._link)
        self._write()

    @property
    def next_number(self) -> int:
        """The number of the next request."""
        return self._number + 1

    def unanswered(self) -> set[int]:
        """Return the numbers of the requests that wait for an answer."""
        return set(self._requests)

    def resume(self, frame: framing.Frame, answer: Answer) -> None:
        """Wait for the answer of a request that the old code has sent."""
        self._requests[frame["id"]] = (frame, answer)

    def request(self, op: str, args: dict[str, Any], answer: Answer, *, again: bool = True) -> int:
        """Ask for an operation of protocol/link.py; `answer(value, error)` is called once.

        Args:
            again: ask the next relay if this one dies; otherwise that is an error.

        Raises:
            Unavailable: the relay does not start, or too many requests wait already.
            ProtocolError: the arguments cannot be sent.
        """
        if self.trouble:
            raise self._unavailable()
        if not again and self._link is None:
            raise Unavailable(f"the {self.name} does not run")
        if len(self._requests) >= MAX_REQUESTS:
            raise Unavailable("too many requests wait for the relay; try again in a moment")
        self._number += 1
        frame: framing.Frame = {"id": self._number, "op": op, "args": args}
        data = framing.encode(frame, link.MAX_FRAME)
        self._requests[self._number] = (frame, answer)
        if not again:
            self._once.add(self._number)
        self._send(data)
        return self._number

    def withdraw(self, number: int) -> None:
        """Forget a request: nobody waits for its answer."""
        self._requests.pop(number, None)

    def tell(self, op: str, args: dict[str, Any]) -> None:
        """Ask for an operation whose answer does not matter and that a later relay need not do."""
        if self._link:
            self._send(framing.encode({"id": 0, "op": op, "args": args}, link.MAX_FRAME))

    @property
    def behind(self) -> int:
        """How many bytes it has yet to read."""
        return len(self._output)

    def kill(self) -> None:
        """End it at once."""
        if self.pid:
            process.kill_group(self.pid)

    def _send(self, data: bytes) -> None:
        if self._link:
            self._output += data
            self._write()

    def _write(self) -> None:
        if self._link is None:
            return
        try:
            for _ in range(WRITES_PER_TURN):
                if self._output:
                    sent = self._link.send(self._output[:65536])
                    del self._output[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._output.clear()  # it has died: `start` sends what is unanswered again
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._output else 0)
        with contextlib.suppress(KeyError):
            self._selector.modify(self._link, events, self._on_link)

    def _on_link(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._write()
        if mask & selectors.EVENT_READ:
            self._read()

    def _read(self) -> bool:
        assert self._link
        try:
            data = self._link.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._link)  # its pidfd tells the rest
            return False
        try:
            for frame in self._decoder.feed(data):
                self._receive(frame)
        except ProtocolError as e:
            self._log.add("zocalod", 40, f"the {self.name} sent garbage and is killed: {e}")
            self.kill()
        return True

    def _receive(self, frame: framing.Frame) -> None:
        match frame.get("report"):
            case "ready":
                self.state, self.trouble = "ready", ""
                self._on_ready()
            case "figures":
                self._on_figures(frame)
            case "command":
                self.on_command(frame)
            case "log":
                self._log.add_record(self.name, frame)
            case None:
                number = frame.get("id")
                if isinstance(number, int) and (entry := self._requests.pop(number, None)):
                    self._once.discard(number)
                    entry[1](frame.get("ok"), _error(frame.get("error")))

    def _ended(self, _mask: int) -> None:
        assert self._link
        assert self._pipe
        while self._read():
            pass
        self._pipe.finish()
        for file in (self._link, self._pidfd):
            with contextlib.suppress(KeyError):
                self._selector.unregister(file)
        self._link.close()
        exit_ = process.reap(self.pid, self._pidfd)
        if self.state == "starting" and exit_.code > 0:  # a signal says nothing about the next one
            self._give_up(exit_)
        self.pid, self._link, self._pipe, self.state = 0, None, None, "stopped"
        self._fail_once()
        self._on_end(exit_)

    def _give_up(self, exit_: Exit) -> None:
        last = self._log.latest(lambda source: source == self.name, 1)
        self.trouble = last[0]["text"] if last else str(exit_)
        waiting, self._requests = self._requests, {}
        for _, answer in waiting.values():
            answer(None, self._unavailable())

    def _fail_once(self) -> None:
        numbers, self._once = self._once, set()
        for number in numbers:
            if entry := self._requests.pop(number, None):
                entry[1](None, Unavailable(f"the {self.name} has ended"))

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"the {self.name} does not start: {self.trouble}")


def _error(error: Any) -> ZocaloError | None:
    if not isinstance(error, dict):
        return None
    problem = ZocaloError(str(error.get("message", "the relay refused")), error.get("data") or {})
    problem.code = str(error.get("code", "failed"))
    problem.retryable = bool(error.get("retryable"))
    return problem
