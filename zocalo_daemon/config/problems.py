"""What is wrong with a configuration: collected, ordered, and raised as one error."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError

MOST_PROBLEMS = 100  # listed; a reply on the control socket has to hold them


class Where(NamedTuple):
    """A place in a file; lines count from 1, line 0 is the file as a whole, no file the built-in values."""

    file: Path | None
    line: int

    def __str__(self) -> str:
        """Return the place as compilers write it, which editors know how to open."""
        if self.file is None:
            return "built-in configuration"
        return f"{self.file}:{self.line}" if self.line else str(self.file)


class Report:
    """Collects problems while a configuration is read, so that all of them are told at once."""

    def __init__(self) -> None:
        self._problems: list[tuple[Where, str]] = []

    @property
    def full(self) -> bool:
        """Further problems are only counted: the one who adds them need not look for suggestions."""
        return len(self._problems) >= MOST_PROBLEMS

    def add(self, where: Where, text: str, key: str = "") -> None:
        """Add a problem of the value at dotted `key`; `text` must not show a secret."""
        line = f"{key}: {text}" if key else text
        # Words of the file stand in it, and a terminal must not obey them.
        self._problems.append((where, "".join(c if c.isprintable() else "?" for c in line)))

    def lines(self, files: Iterable[Path] = ()) -> list[str]:
        """Return one line per problem: by file in the order of `files`, then by line."""
        order: dict[Path | None, int] = {file: number for number, file in enumerate(files)}
        found = sorted(
            dict.fromkeys(self._problems), key=lambda p: (order.get(p[0].file, len(order)), p[0].line)
        )
        lines = [f"{where}: {text}" for where, text in found]
        more = len(lines) - MOST_PROBLEMS
        if more > 0:
            lines[MOST_PROBLEMS:] = [f"{found[MOST_PROBLEMS][0]}: and {more} more problems"]
        return lines

    def check(self, files: Iterable[Path] = ()) -> None:
        """Go on if there is no problem.

        Raises:
            ConfigError: there is one; `data["problems"]` lists them all.
        """
        lines = self.lines(files)
        if len(lines) == 1:
            raise ConfigError(lines[0], {"problems": lines})
        if lines:
            message = "\n".join([f"the configuration has {len(lines)} problems:", *lines])
            raise ConfigError(message, {"problems": lines})


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that somebody who wrote `word` may have meant."""
    import difflib  # noqa: PLC0415  (5 ms that a valid configuration does not pay)

    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:80], names, n=1, cutoff=0.6)
    return names[close[0]] if close else None


def one_of(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about a word that is none of `known`: the nearest, or all of them."""
    names = list(known)
    close = nearest(word, names)
    if close:
        return f"did you mean '{close}'?"
    return f"expected {' or '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)}"
