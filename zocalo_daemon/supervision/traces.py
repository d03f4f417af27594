"""Finds what faulthandler has written among the last lines of a worker (pure).

It is "Fatal Python error: …" on a fatal signal, and on request only the threads, each with its frames:

    Thread 0x00007f3c (most recent call first):
      File "/usr/lib/python3.11/threading.py", line 331 in wait

The one that was running, or that has failed, is the "Current thread". Lines that somebody else wrote in
between are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_FATAL = "Fatal Python error: "
_HEAD = re.compile(r"(Current thread|Thread) 0x[0-9a-f]+.* \(most recent call first\):$")
_BODY = re.compile(r'  (File ".*", line \d+ in |File ".*", line \?\?\? in |\.\.\.|<)|Extension modules: ')
_FRAME = re.compile(r'  File "(?:.*/)?(.+)", line (\d+) in (.+)')


def find(lines: Sequence[str]) -> list[str]:
    """Return the dump of threads among lines of output, best of a fatal error; empty if there is none."""
    fatal = [number for number, line in enumerate(lines) if line.startswith(_FATAL)]
    heads = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    start = fatal[-1] if fatal else heads[0] if heads else len(lines)
    return [line for line in lines[start:] if _is_part(line)]


def _is_part(line: str) -> bool:
    return line.startswith(_FATAL) or bool(_HEAD.match(line) or _BODY.match(line))


def place(dump: Sequence[str]) -> str:
    """Return where the current thread of a dump was: "file.py:12 in name", "" if that is not known."""
    heads = [_HEAD.match(line) for line in dump]
    current = next((number for number, head in enumerate(heads) if head and head[1] != "Thread"), len(dump))
    found = _FRAME.match(dump[current + 1]) if current + 1 < len(dump) else None
    return f"{found[1]}:{found[2]} in {found[3]}" if found else ""
