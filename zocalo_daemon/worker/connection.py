"""A transport's line to the relay: kept up for the transport's whole life, whatever becomes of the relay.

One thread reads. Any thread writes, straight to the socket and under the lock, so that frames leave in the
order of their numbers. What waits for an answer is kept and sent again over the next socket: a question
survives the death of the relay, and the broker recognises a repeated message by its (client, number).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import workflows

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.worker import Frame
from zocalo_daemon.worker import messages
from zocalo_daemon.worker.dial import WELCOME_TIMEOUT, Refused, Retry, dial, dial_until, reason_of
from zocalo_daemon.worker.question import Question, Wake

READ_SIZE = 256 * 1024  # bytes

log = logging.getLogger("workflows.transport")
_readers = threading.local()  # .line: the one that this thread reads from


class Connection:
    """The line.

    Args:
        path: of the relay's socket.
        worker, transport, secret: for the hello; "" for a script, the default transport, and a script.
        asking: makes what is around a wait for the relay.
        on_frame: called in the reader for every frame that answers no question.
        on_read: called in the reader after the frames of one read, never from within itself.
        on_lost: called with the lock held when the relay is gone.
        on_up: called with the lock held on a new line; returns bytes that go before the open questions.
    """

    def __init__(
        self,
        path: Path | str,
        worker: str,
        transport: str,
        secret: str,
        *,
        asking: Callable[[], contextlib.AbstractContextManager[None]],
        on_frame: Callable[[Frame], None],
        on_read: Callable[[], None],
        on_lost: Callable[[], None],
        on_up: Callable[[], bytes],
    ) -> None:
        self.path = path
        self.lock = threading.RLock()
        client = os.urandom(16).hex()
        who = [worker, os.getpid(), client, transport, secret]
        self._hello: Frame = [protocol.HELLO, protocol.VERSION, *who]
        self._asking = asking
        self._on_frame, self._on_read, self._on_lost, self._on_up = on_frame, on_read, on_lost, on_up
        self._packer = msgpack.Packer(use_bin_type=True, default=messages.plain)
        self._number = 0
        self._questions: dict[int, Question] = {}
        self._socket: socket.socket | None = None
        self._dialling: socket.socket | None = None
        self._unpacker: msgpack.Unpacker  # of a line that stands; each takes 40 KiB
        self._reader: threading.Thread | None = None
        self._inside = False  # the reader is in on_read, that is in a callback of the service
        self._closed = threading.Event()
        self._why_closed = "the thread that reads from the relay has ended"

    # -- Life

    def open(self, timeout: float) -> None:
        """Reach the relay within `timeout` seconds and start reading.

        Raises:
            workflows.Disconnected: nobody answers, or the relay refuses this transport.
        """
        self._closed.clear()
        try:
            with self._asking():
                line = dial_until(time.monotonic() + timeout, self._dial)
        except Refused as e:
            raise workflows.Disconnected(f"the relay at {self.path} refuses this transport: {e}") from None
        except (OSError, ProtocolError) as e:
            raise workflows.Disconnected(
                f"no relay answers at {self.path} ({reason_of(e)}); is zocalod running?"
            ) from None
        self._adopt(line)
        self._reader = threading.Thread(target=self._read, name="relay transport", daemon=True)
        self._reader.start()

    def close(self, why: str = "the transport is disconnected") -> None:
        """Close the line and end every question."""
        with self.lock:
            self._why_closed = why
            self._closed.set()
            for line in (self._socket, self._dialling):
                if line is not None:
                    _shut(line)
            questions, self._questions = self._questions, {}
        for question in questions.values():
            question.end(problem=workflows.Disconnected(why))
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(5)

    @property
    def is_open(self) -> bool:
        """True from `open` until `close`, or until the relay has refused this transport."""
        return self._reader is not None and not self._closed.is_set()

    # -- Writing

    def pack(self, frame: Frame) -> bytes:
        """Return the bytes of a frame.

        Raises:
            workflows.Error: a value that cannot travel, or too much of it.
        """
        # The packer is not safe against a second thread while it calls back into Python for odd types.
        with self.lock:
            try:
                data: bytes = self._packer.pack(frame)
            except (TypeError, ValueError, OverflowError) as e:
                self._packer.reset()
                raise workflows.Error(f"this message cannot be sent: {e}") from None
        if len(data) > protocol.MAX_FRAME:
            raise workflows.Error(
                f"this message takes {len(data)} bytes, more than the limit of {protocol.MAX_FRAME}"
            )
        return data

    def next_number(self) -> int:
        """Return the number of the next frame; call with the lock held until the frame is written."""
        self._number += 1
        return self._number

    def post(self, data: bytes) -> None:
        """Write frames that nobody waits for. Without a line they are lost, as everything unsettled is."""
        with self.lock:
            self._write(data)

    def ask(self, frame: Frame, timeout: float | None = None) -> Any:
        """Write a frame whose second element is its number, set here, and wait for the answer.

        Raises:
            workflows.Error: the relay refuses, with its reason.
            workflows.Disconnected: the transport was closed meanwhile, or `timeout` seconds have passed.
        """
        with self.lock:
            if not self.is_open:
                raise workflows.Disconnected(self._why_closed)
            number = frame[1] = self.next_number()
            question = self._questions[number] = Question(self.pack(frame))
            self._write(question.data)
        try:
            with self._asking():
                answered = self._wait(question, timeout)
        finally:
            self._questions.pop(number, None)
        if not answered:
            raise workflows.Disconnected(f"the relay at {self.path} does not answer")
        if question.problem is not None:
            raise question.problem
        return question.answer

    def _write(self, data: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.sendall(data)
            except OSError:
                # The reader sees the end of the stream and takes it from there.
                _shut(self._socket)

    def _wait(self, question: Question, timeout: float | None) -> bool:
        own = getattr(_readers, "line", None)
        if own is None:
            return question.done.wait(timeout)
        # A callback in a reader must go on reading, or its answer would never come; that of another line
        # neither, if a callback there waits for what comes by this one.
        deadline = None if timeout is None else time.monotonic() + timeout
        wake = question.wake = None if own is self else Wake()
        while not question.done.is_set():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if left == 0.0:
                break
            if (wake is None or wake.has_to_read(own._socket, left)) and not own._turn():
                break
        return question.done.is_set()

    # -- Reading

    def _read(self) -> None:
        _readers.line = self
        try:
            while self._turn():
                pass
        finally:
            # Also when a callback has ended this thread (SystemExit): nobody must wait for ever.
            self.close(self._why_closed)

    def _turn(self) -> bool:
        """Read once and act on it; False when the transport is closed."""
        line = self._socket
        data = b""
        if line is not None:
            with contextlib.suppress(OSError):
                data = line.recv(READ_SIZE)
        if not data:
            return self._lost()
        try:
            for frame in protocol.frames(self._unpacker, data):
                self._take(frame)
        except (ProtocolError, IndexError, TypeError, ValueError) as e:
            log.error("The relay sent something that cannot be read (%s): connecting anew", e)
            return self._lost()
        if not self._inside:
            self._inside = True
            try:
                self._on_read()
            finally:
                self._inside = False
        return True

    def _take(self, frame: Frame) -> None:
        kind = frame[0]
        if kind in (protocol.CONFIRMED, protocol.DONE):
            self._answer(frame[1], frame[2] if kind == protocol.DONE else None, None)
        elif kind in (protocol.REFUSED, protocol.FAILED):
            self._answer(frame[1], None, workflows.Error(frame[3]))
        else:
            self._on_frame(frame)

    def _answer(self, number: int, answer: Any, problem: workflows.Error | None) -> None:
        question = self._questions.pop(number, None)
        if question is not None:
            question.end(answer, problem)
        elif problem is not None:
            log.error("The relay refuses: %s", problem)

    # -- Connecting

    def _lost(self) -> bool:
        with self.lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            self._on_lost()
        if self._closed.is_set():
            return False
        log.warning("The relay at %s is gone: connecting anew", self.path)
        retry = Retry()
        while not self._closed.wait(retry.delay()):
            try:
                self._adopt(self._dial(WELCOME_TIMEOUT))
            except Refused as e:
                log.error("The relay at %s refuses this transport: %s", self.path, e)
                self.close(f"the relay refuses this transport: {e}")
            except (OSError, ProtocolError):
                continue
            else:
                log.info("Connected to the relay at %s again", self.path)
                return True
        return False

    def _dial(self, timeout: float) -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with self.lock:
            self._dialling = line
        try:
            self._unpacker = dial(line, self.path, self.pack(self._hello), timeout)
        except BaseException:
            line.close()
            raise
        finally:
            with self.lock:
                self._dialling = None
        return line

    def _adopt(self, line: socket.socket) -> None:
        with self.lock:
            if self._closed.is_set():
                line.close()
                return
            self._socket = line
            self._write(self._on_up() + b"".join(one.data for one in self._questions.values()))


def _shut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
