"""Text for terminals: tables, times and sizes, and nothing that could command the terminal (pure)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_STATES = {
    "ready": "green",
    "connected": "green",
    "starting": "yellow",
    "draining": "yellow",
    "connecting": "yellow",
    "backoff": "red",
    "failed": "red",
    "full": "red",
    "stopped": "dim",
}


def clean(text: object) -> str:
    """Return text with everything visible: escape sequences, control and formatting characters as numbers.

    Names and log lines come from anywhere; ECMA-48 sequences in them could change the title, the colours or
    the input of the terminal, and bidirectional overrides could make them read as something else.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\xa0" else _escape(c) for c in text)


def lines_of(text: object) -> list[str]:
    """Return the lines of a text of several, each cleaned, with tabs as spaces."""
    return [clean(line.expandtabs()) for line in str(text).splitlines()] or [""]


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """Return how many columns a clean text takes (Unicode TR 11: wide and full-width take two)."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, columns: int) -> str:
    """Return as much of a clean text as fits."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…" if columns > 0 else ""


def table(
    heading: Sequence[str], rows: Iterable[Sequence[object]], columns: int | None = None, colour: bool = False
) -> list[str]:
    """Return the lines of a table.

    Args:
        heading: a name for each column; one that starts with ">" is aligned to the right.
        rows: of cells, None for an empty one; a column that is empty everywhere is left out.
        columns: of the terminal, to cut the lines to; None not to cut.
        colour: whether to colour the cells that are states.
    """
    body = [["" if cell is None else clean(cell) for cell in row] for row in rows]
    used = [i for i in range(len(heading)) if not body or any(row[i] for row in body)]
    titles = [title.lstrip(">") for title in heading]
    sizes = [max([width(titles[i]), *(width(row[i]) for row in body)]) for i in used]
    right = [heading[i].startswith(">") for i in used]
    lines = []
    for number, row in enumerate([titles, *body]):
        cells = []
        for i, size, to_right in zip(used, sizes, right, strict=True):
            blank = " " * (size - width(row[i]))
            cells.append(blank + row[i] if to_right else row[i] + blank)
        line = "  ".join(cells).rstrip()
        if columns is not None:
            line = cut(line, columns)
        if colour:
            line = paint(line, "bold") if number == 0 else _paint_state(line, row)
        lines.append(line)
    return lines


def table_with_notes(
    heading: Sequence[str],
    rows: Sequence[Sequence[object]],
    columns: int | None,
    colour: bool,
    spare: Sequence[str],
) -> list[str]:
    """Return a table whose last column is a text of any length, so that all of it can be read.

    It stands beside the rest where the terminal is wide enough for all of them; else each below its row, in
    as many lines as it needs.

    Args:
        columns: of the terminal; None for one line each, however long.
        spare: headings of columns that may be left out, the first ones first, if the terminal is narrow.
    """
    beside = table(heading, rows, None, colour)
    if columns is None or all(width(line) <= columns for line in table(heading, rows)):
        return beside
    notes = ["" if row[-1] is None else clean(row[-1]) for row in rows]
    left = list(range(len(heading) - 1))
    for name in ("", *spare):
        left = [i for i in left if heading[i] != name]
        narrow = [[row[i] for i in left] for row in rows]
        if max(map(width, table([heading[i] for i in left], narrow))) <= columns:
            break
    lines = table([heading[i] for i in left], narrow, columns, colour)
    below = [[], *([f"    {line}" for line in wrapped(note, columns - 4)] for note in notes)]
    return [text for line, more in zip(lines, below, strict=True) for text in (line, *more)]


def wrapped(text: str, columns: int) -> list[str]:
    """Return a clean text in lines of at most so many columns.

    It is broken behind semicolons if that suffices, so that a command stays in one piece; else at blanks.
    """
    lines: list[str] = []
    for clause in text.replace("; ", ";\n").splitlines():
        if lines and width(lines[-1]) + 1 + width(clause) <= columns:
            lines[-1] += f" {clause}"
        else:
            lines += _broken(clause, columns)
    return lines


def _broken(text: str, columns: int) -> list[str]:
    """Return a text in lines that are broken at blanks, or anywhere in a word that is too long by itself."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        rest = word
        if line and width(line) + 1 + width(rest) <= columns:
            line += f" {rest}"
            continue
        if line:
            lines.append(line)
        while width(rest) > max(columns, 2):
            fits = next(n for n in range(len(rest), 0, -1) if width(rest[:n]) <= max(columns, 2))
            lines.append(rest[:fits])
            rest = rest[fits:]
        line = rest
    return [*lines, line] if line else lines


def _paint_state(line: str, row: Sequence[str]) -> str:
    """Colour the first cell that is a state, where it stands as a word of its own."""
    for cell in row[1:]:
        state = cell.rpartition(" ")[2]
        if state in _STATES:
            before, found, after = line.partition(f" {state}")
            return before + " " + paint(state, _STATES[state]) + after if found else line
    return line


def paint(text: str, colour: str) -> str:
    """Return text in a colour (ECMA-48, SGR)."""
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def duration(seconds: float | None) -> str:
    """Return a time span with its two largest units: 4.2s, 38s, 12m05s, 3h20m, 5d04h."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: float | None) -> str:
    """Return bytes with three digits or so: 512 B, 3.1 MiB."""
    if count is None:
        return ""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"
