"""Where the daemon's log goes besides `zocaloctl logs`: standard error or a file, as text or as JSON lines.

Nothing here can block: a descriptor gets only what it takes at once. The journal has a module of its own.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

MAX_LINE = 8 * 1024  # bytes; longer lines are cut in pieces

LEVELS = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"), (0, "DEBUG"))
# sd-daemon(3): a line that begins with <N> has that priority in the journal. Levels are those of `logging`.
_PRIORITIES = ((50, 2), (40, 3), (30, 4), (20, 6), (0, 7))


class LogMessage(NamedTuple):
    """One message of the log.

    Args:
        source: who said it: "zocalod", "relay", "dispatcher/0".
        level: a number of `logging`, from 0.
        text: of one line, or of several.
        when: wall time in seconds.
        fields: what else is known of it, by the names of zocalo: recipe_ID, pathname, workflows_host, …;
            `instance` if it concerns an instance that is not its source.
    """

    source: str
    level: int
    text: str
    when: float
    fields: Mapping[str, Any] = {}

    def lines(self) -> Iterator[str]:
        """Yield what people see of it, line by line."""
        recipe = self.fields.get("recipe_ID")
        shown = f"[{recipe}] {self.text}" if recipe else self.text
        for line in shown.splitlines() or [""]:
            yield line[:MAX_LINE]

    def known(self) -> dict[str, Any]:
        """Return its fields, with those that say whom it concerns."""
        instance = self.source if "/" in self.source else self.fields.get("instance")
        whom = {"instance": instance, "service": instance.rpartition("/")[0]} if instance else {}
        return {**self.fields, **whom, "source": self.source}


class Outlet(Protocol):
    """Takes messages for good."""

    def write(self, message: LogMessage) -> bool:
        """Take one message; False if that is not possible now."""

    def close(self) -> None:
        """Take nothing more, and give back what it has opened."""


Form = Callable[[LogMessage], str]


def text(message: LogMessage) -> str:
    """Return lines for people, each with the local time."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(message.when))
    return _lined(message, f"{stamp}.{int(message.when * 1000) % 1000:03} ")


def prioritized(message: LogMessage) -> str:
    """Return lines for the journal's stream, which knows the time."""
    return _lined(message, f"<{priority(message.level)}>")


def json_line(message: LogMessage) -> str:
    """Return one line of JSON; times are UTC."""
    import json  # noqa: PLC0415 - code that takes over from old one does without

    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(message.when))
    told = {
        "time": f"{stamp}.{int(message.when * 1000) % 1000:03}Z",
        "level": next(name for least, name in LEVELS if message.level >= least),
        "message": message.text,
    }
    return json.dumps(told | {key: value for key, value in message.known().items() if key not in told}) + "\n"


def priority(level: int) -> int:
    """Return the priority of syslog(3) for a level of `logging`."""
    return next(priority for least, priority in _PRIORITIES if level >= least)


def _lined(message: LogMessage, prefix: str) -> str:
    return "".join(f"{prefix}{message.source}: {line}\n" for line in message.lines())


class Stream:
    """A descriptor that stays open, such as standard error."""

    def __init__(self, descriptor: int, form: Form) -> None:
        self._descriptor, self._form = descriptor, form
        self._poller = select.poll()
        self._poller.register(descriptor, select.POLLOUT)

    def write(self, message: LogMessage) -> bool:
        """Write one message, as far as it is taken at once."""
        # A write of up to PIPE_BUF bytes to a pipe that polls writable does not block (pipe(7)).
        data = self._form(message).encode(errors="replace")
        try:
            for start in range(0, len(data), select.PIPE_BUF):
                if not any(mask & select.POLLOUT for _, mask in self._poller.poll(0)):
                    return False
                os.write(self._descriptor, data[start : start + select.PIPE_BUF])
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Do nothing: it belongs to others too."""


class File:
    """A file of the daemon's own, opened by the first message, and anew when somebody has moved it away.

    Args:
        otherwise: what takes messages while the file cannot be written, and the news of that.
    """

    def __init__(self, path: Path, form: Form, otherwise: Outlet | None) -> None:
        self._path, self._form, self._otherwise = path, form, otherwise
        self._file = -1
        self._away = False

    def write(self, message: LogMessage) -> bool:
        """Write one message."""
        try:
            self._reopen()
            os.write(self._file, self._form(message).encode(errors="replace"))
        except OSError as e:
            return self._failed(e, message)
        self._away = False
        return True

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _reopen(self) -> None:
        """Open the file, unless its name still stands for the one that is open (logrotate(8))."""
        if self._file >= 0:
            try:
                if os.path.samestat(self._path.stat(), os.fstat(self._file)):
                    return
            except FileNotFoundError:
                pass
            self.close()
        # Not a FIFO without a reader, which would block.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._file = os.open(self._path, flags, 0o640)

    def _failed(self, e: OSError, message: LogMessage) -> bool:
        if self._otherwise is None:
            return False
        if not self._away:
            self._away = True
            news = f"cannot write to the log file {self._path}: {e.strerror}; its lines come here"
            self._otherwise.write(LogMessage("zocalod", 40, news, message.when))
        return self._otherwise.write(message)
