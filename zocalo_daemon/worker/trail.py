"""What a worker notes about the recipes whose messages it handles (protocol/trail.py).

Every message of a recipe passes here, so what happens for it is to write some dozen bytes into shared memory.
Measured by benchmarks/trail.py.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from zocalo_daemon import trail as file
from zocalo_daemon.protocol import trail as layout
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.channel import encode
from zocalo_daemon.protocol.trail import word

KEPT = 1_000_000_000  # nanoseconds that lines may wait on the board, if there is a next one
_PART, _STATE, _USED = layout.PART, layout.STATE, layout.USED
_SETTLED, _RUNNING, _OPEN = layout.SETTLED, layout.RUNNING, layout.OPEN
_AT, _HEAD_AT, _HEAD_ROOM, _LINES, _ROOM = (
    layout.STATE * layout.WORD,
    layout.HEAD_AT,
    layout.HEAD_ROOM,
    layout.LINES,
    layout.ROOM,
)
Save = Callable[[bytes, int], None]
_ID, _NAME = layout.LONGEST_ID, layout.LONGEST_NAME

_wall, _now = time.time_ns, time.monotonic_ns
_state = struct.Struct("@2Q").pack


class Run:
    """One delivery at a node: from the beginning of its callback until that has ended and it is settled."""

    __slots__ = ("delivery", "detail", "ended", "environment", "head", "outcome", "recipe", "sent", "since")

    def __init__(self, delivery: int, head: bytes, environment: Any) -> None:
        self.since = _now()
        self.delivery, self.head, self.environment = delivery, head, environment
        self.outcome = self.detail = ""
        self.ended = False
        self.sent: dict[Any, int] | None = None  # messages to each node
        self.recipe: Any = None  # that these were sent with

    def raised(self, e: BaseException) -> None:
        """Its callback has raised."""
        self.outcome, self.detail = "raised", f"{type(e).__name__}: {e}"


class Untraced:
    """Notes nothing: for a transport that no supervisor watches."""

    open: dict[int, Run] = {}  # noqa: RUF012  never written to

    def begin(self, message: dict[str, Any], queue: str, delivery: int) -> Run | None:  # noqa: ARG002
        """The callback of a recipe's message begins; return the run to be ended, if it is noted."""
        return None

    def end(self, run: Run) -> None:
        """The callback has returned or raised."""

    def sent(self, message: dict[str, Any], run: Run | None) -> None:
        """A message was sent to a node, in the callback of `run` if it is one that is noted."""

    def settled(self, kind: int, delivery: int, requeue: Any) -> None:
        """A delivery in `open` was settled by ACK or NACK."""

    def lost(self, why: str) -> None:
        """The relay has gone, or the worker ends: deliveries come again."""


UNTRACED = Untraced()


class Trail(Untraced):
    """Notes what happens on the page of a worker.

    Args:
        page: its bytes on the board.
        instance: "spotfinder/0".
        save: writes lines down, into files of so many bytes; it raises nothing.
        part: how large one of them may become, in bytes; the supervisor may change it on the page.
    """

    def __init__(self, page: memoryview, instance: str, save: Save, part: int) -> None:
        self._page, self._numbers = page, page.cast("Q")
        self._numbers[_PART] = part
        self._who = f"{word(instance, _NAME)}\t{os.getpid()}"
        self._save = save
        self.open = {}  # runs that are not settled, by delivery
        self._latest: Run | None = None
        self._used = 0
        self._save_at = 0
        self._unlock()

    def _unlock(self) -> None:
        lock = threading.RLock()
        self._acquire, self._release = lock.acquire, lock.release

    def detach(self) -> None:
        """Note nothing more: what a service forks is not the worker."""
        self._unlock()  # another thread may have held it when the fork happened
        self._page = memoryview(bytearray(layout.PAGE))
        self._numbers = self._page.cast("Q")
        self._used = 0

    def begin(self, message: dict[str, Any], queue: str, delivery: int) -> Run | None:
        """The callback of a recipe's message begins; return the run to be ended, if it is noted."""
        environment = message.get("environment")
        if type(environment) is not dict or not (recipe := environment.get("ID")) or not self._numbers[_PART]:
            return None
        node = message["recipe-pointer"]
        if type(node) is not int:
            node = word(node, _ID)
        text = (
            f"{_wall() // 1000}\t{word(recipe, _ID)}\t{node}\t{self._who}\t{delivery}\t{word(queue, _NAME)}"
        )
        head = text.encode()
        if len(head) > _HEAD_ROOM:  # of characters that take several bytes
            return None
        self._page[_AT : _HEAD_AT + len(head)] = _state(_RUNNING, len(head)) + head
        run = self._latest = Run(delivery, head, environment)
        if delivery:
            self.open[delivery] = run
        return run

    def end(self, run: Run) -> None:
        """The callback has returned or raised."""
        run.ended = True
        now = _now()
        outcome = run.outcome or ("held" if run.delivery else "done")
        if run is self._latest:
            self._numbers[_STATE] = _OPEN if outcome in ("held", "raised") else _SETTLED
        sent = _sent(run) if run.sent else ""
        detail = word(run.detail, layout.LONGEST_DETAIL) if run.detail else ""
        rest = f"\t{(now - run.since) // 1000}\t{outcome}\t{sent}\t{detail}\n"
        self._note(b"run\t" + run.head + rest.encode(), now)

    def sent(self, message: dict[str, Any], run: Run | None) -> None:
        """A message was sent to a node, in the callback of `run` if it is one that is noted."""
        environment, node = message.get("environment"), message["recipe-pointer"]
        if run is not None and environment is run.environment and type(node) is int:
            if run.sent is None:
                run.sent, run.recipe = {}, message.get("recipe")
            run.sent[node] = run.sent.get(node, 0) + 1
            return
        recipe = environment.get("ID") if type(environment) is dict else None
        if recipe and self._numbers[_PART]:
            queue = _place(message.get("recipe"), node)
            delivery = run.delivery if run is not None else 0
            head = (
                f"{_wall() // 1000}\t{word(recipe, _ID)}\t{word(node, _ID)}\t{self._who}\t{delivery}\t{queue}"
            )
            self._note(layout.line("sent", head, None, "", ""), _now())

    def settled(self, kind: int, delivery: int, requeue: Any) -> None:
        """A delivery in `open` was settled by ACK or NACK."""
        run = self.open.pop(delivery, None)
        if run is None:
            return
        if kind == protocol.ACK:
            self._settle(run, "done", "")
        elif requeue and not isinstance(requeue, str):
            self._settle(run, "again", "")
        else:
            self._settle(run, "rejected", requeue or "")

    def lost(self, why: str) -> None:
        """The relay has gone, or the worker ends: deliveries come again."""
        runs, self.open = self.open, {}
        for run in runs.values():
            if run.outcome != "raised":  # of which the worker may die: its supervisor tells the rest
                self._settle(run, "again", why)

    def _settle(self, run: Run, outcome: str, detail: str) -> None:
        if not run.ended:
            run.outcome, run.detail = outcome, detail
            return
        if run is self._latest:
            self._numbers[_STATE] = _SETTLED
        head = layout.later(run.head.decode(), _wall() // 1000)
        self._note(layout.line("settled", head, None, outcome, detail), _now())

    def _note(self, line: bytes, now: int) -> None:
        self._acquire()
        try:
            used = self._used
            size = used + len(line)
            if size > _ROOM or now >= self._save_at:
                data = bytes(self._page[_LINES : _LINES + used]) + line
                self._save(data, self._numbers[_PART] or len(data))
                self._save_at = now + KEPT
                size = 0
            else:
                self._page[_LINES + used : _LINES + size] = line
            self._used = self._numbers[_USED] = size
        finally:
            self._release()


def _sent(run: Run) -> str:
    """Return the column `sent` of a run."""
    counts = (run.sent or {}).items()
    made = " ".join(f"{node}={_place(run.recipe, node)}*{count}" for node, count in counts)
    return made if len(made) <= layout.LONGEST_SENT else ""


def _place(recipe: Any, number: Any) -> str:
    """Return the queue or topic of a node; the keys of a recipe are text in JSON, numbers in workflows."""
    try:
        node = recipe.get(number) or recipe.get(str(number))
        return word(node.get("queue") or node.get("topic") or "", _NAME).replace(" ", "_")
    except (AttributeError, TypeError):  # no recipe as it should be
        return ""


def of_worker(
    board: memoryview | None, number: int, instance: str, request: dict[str, Any], end: int
) -> Untraced:
    """Return what a worker notes its recipes with.

    Args:
        board: as `board.open_board` returns it, or None.
        number: of its entry, 0 for none.
        request: the map `worker` of the fork request.
        end: descriptor of its channel.
    """
    wanted = request.get("trail")
    page = layout.page(board.cast("B"), number) if board is not None and wanted else None
    if page is None:
        return UNTRACED
    assert wanted
    # Only the daemon's own user may write to the files.
    other = request.get("user") or request.get("group")
    save = partial(_pass_on, end) if other else partial(write, wanted["directory"])
    made = Trail(page, instance, save, wanted["part"])
    os.register_at_fork(after_in_child=made.detach)
    return made


def write(directory: str, lines: bytes, part: int) -> None:
    """Append lines to the trail in a directory, in files of so many bytes, as far as that is possible."""
    with contextlib.suppress(OSError):  # a full disk: a service must not suffer for it
        file.append(directory, lines, part)


def _pass_on(end: int, lines: bytes, _part: int) -> None:
    message = encode({"event": "trail", "lines": lines})
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(end)) as channel:
        channel.send(message, socket.MSG_DONTWAIT)


def save_rest(board: memoryview | None, numbers: list[int], directory: str) -> None:
    """Save what the workers with these entries have noted, which end with their supervisor."""
    if board is None or not directory:
        return
    memory = board.cast("B")
    for page in filter(None, (layout.page(memory, number) for number in numbers)):
        part = layout.number_at(page, layout.PART)
        data = layout.lines_of(page)
        if layout.number_at(page, layout.STATE) == _RUNNING:
            data += layout.line("died", layout.head_of(page), None, "cut", "the daemon was killed")
        layout.clear(page)  # another forkserver may look at it, too
        if data:
            with contextlib.suppress(OSError):
                file.append(directory, data, part)
