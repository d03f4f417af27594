"""The trail: which nodes of recipes have run here, and what became of them (pure).

It is lines of text, in files of `state_dir/trail` (zocalo_daemon/trail.py) and on the board, where each
worker has a page behind the tallies, of its own number. There it notes at which node it is, and keeps its
latest lines until they fill the page or are a second old; then it writes them to the file, in one go. So the
trail costs a message no system call and no frame, nobody wakes up for it, and what a worker has noted
outlives it: the supervisor saves what it leaves behind, a forkserver what a supervisor does.

A line has COLUMNS with tabs between them:

kind        run: a callback has ended; sent: a message went to a node, from outside of one; settled: a
            delivery whose callback had ended before; died: the worker did not survive its callback
time        when the callback began, or the rest happened; microseconds since the epoch
recipe      its ID: environment, ID in the message
node        the number of the node
instance    "spotfinder/0", and
pid         of its worker
delivery    its number, unique over all lives of the relay; 0 for a message of a topic
queue       where the message came from, or went to
took        microseconds that the callback ran, or "" for what is no callback
outcome     done: acknowledged; again: it is delivered once more; rejected: to the dead letters, by the
            service; raised: an exception; held: the callback has returned without settling it; crashed: the
            worker has died of it; cut: the worker has ended for another reason; dead-lettered: by the relay,
            after too many crashes; or "" for what was sent
sent        what the callback has sent to other nodes: "2=index*6 4=archive*1", node, queue and how many
detail      why

A page: four numbers (PART, USED, STATE, HEAD), the head of the run that began last, which is its line from
time to queue, and from LINES on the lines that are not in the file yet. A board that an older version has
made has no pages: nothing is noted there.
"""

from __future__ import annotations

import sys

from zocalo_daemon.protocol import board, tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

COLUMNS = (
    *("kind", "time", "recipe", "node", "instance", "pid", "delivery", "queue"),
    *("took", "outcome", "sent", "detail"),
)
LONGEST_ID, LONGEST_NAME, LONGEST_SENT, LONGEST_DETAIL = 64, 100, 1000, 200  # characters

PAGE = 4096  # bytes: a page of memory, so that workers do not share one
FILE_SIZE = tally.FILE_SIZE + board.ENTRIES * PAGE  # bytes of a board with its pages
WORD = 8  # bytes of a number
# Numbers, by their places in words: how large one file may become, 0 if nothing is to be noted; the length of
# the lines; a state; and the length of the head.
PART, USED, STATE, HEAD = range(4)
SETTLED, RUNNING, OPEN = range(
    3
)  # states: nothing in hand; a callback runs; it has ended and settled nothing
HEAD_AT, LINES = 4 * WORD, 512  # bytes
HEAD_ROOM, ROOM = LINES - HEAD_AT, PAGE - LINES

_INTEGERS = ("time", "pid", "delivery", "took")


def place(number: int) -> int:
    """Return where the page of an entry begins, in bytes."""
    return tally.FILE_SIZE + number * PAGE


def page(memory: memoryview, number: int) -> memoryview | None:
    """Return the page of a worker in the bytes of a board; None for a board without pages."""
    start = place(number)
    return memory[start : start + PAGE] if len(memory) >= FILE_SIZE and number else None


def clear(one: memoryview) -> None:
    """Make a page ready for the next worker."""
    one[:HEAD_AT] = bytes(HEAD_AT)


def number_at(one: memoryview, place: int) -> int:
    """Return a number of a page."""
    return int.from_bytes(one[place * WORD : (place + 1) * WORD], sys.byteorder)


def set_number(one: memoryview, place: int, value: int) -> None:
    """Set a number of a page."""
    one[place * WORD : (place + 1) * WORD] = value.to_bytes(WORD, sys.byteorder)


def lines_of(one: memoryview) -> bytes:
    """Return the lines of a page that are not in the file yet."""
    return bytes(one[LINES : LINES + min(number_at(one, USED), ROOM)])


def head_of(one: memoryview) -> str:
    """Return the head of the run that began last; "" before the first."""
    size = min(number_at(one, HEAD), HEAD_ROOM)
    return bytes(one[HEAD_AT : HEAD_AT + size]).decode(errors="replace")


def line(kind: str, head: str, took: int | None, outcome: str, detail: str) -> bytes:
    """Return a line of what has sent nothing."""
    spent = "" if took is None else took
    return f"{kind}\t{head}\t{spent}\t{outcome}\t\t{word(detail, LONGEST_DETAIL)}\n".encode()


def later(head: str, now: int) -> str:
    """Return a head for something that happens now, in microseconds since the epoch."""
    return f"{now}\t{head.partition(chr(9))[2]}"


def word(value: object, most: int) -> str:
    """Return a value as a column can have it: printable text, no longer than `most` characters."""
    if type(value) is not str:
        value = str(value) if type(value) in (int, float) else "?"
    if len(value) > most:
        value = value[: most - 1] + "…"
    return value if value.isprintable() else "".join(c if c.isprintable() else "?" for c in value)


def parsed(text: str) -> dict[str, Any] | None:
    """Return a line as a map; None if it is none, for it was torn or is of another version."""
    parts = text.split("\t")
    if len(parts) != len(COLUMNS):
        return None
    made: dict[str, Any] = dict(zip(COLUMNS, parts, strict=True))
    try:
        for key in _INTEGERS:
            made[key] = int(made[key]) if made[key] else None
    except ValueError:
        return None
    return None if None in (made["time"], made["pid"], made["delivery"]) else made


def unfinished(kind: str, head: str) -> dict[str, Any] | None:
    """Return a line of which only the head is known, as a map; None if that is no head."""
    return parsed(f"{kind}\t{head}\t\t\t\t")


def found(data: bytes, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the lines in the bytes of a file that are about recipes whose ID begins so; all for ""."""
    needle, end = b"\t" + prefix.encode(errors="replace"), 0
    while (place := data.find(needle, end)) >= 0:
        begin = data.rfind(b"\n", 0, place) + 1
        end = data.find(b"\n", place)
        end = len(data) if end < 0 else end
        made = parsed(data[begin:end].decode(errors="replace"))
        if made is not None and made["recipe"].startswith(prefix):
            yield made
