"""The walker: turns the tree of a file into values by a table of keys, and reports what does not fit.

A converter takes a node and a `Context` and returns the value, or raises `Unfit` with what was expected.
Converters of lists and maps catch that for each of their members, report it with its place and key, and
go on, so that one reading finds every problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .nodes import Entry, Items, Node, Scalar, Table
from .problems import Report, Where, one_of

MAX_TEXT = 4096  # characters of one value
_SHOWN = 40  # characters of a value in a message


class Unfit(Exception):
    """The value is not what its key takes; the message ends the line of the problem."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where the walker stands.

    Args:
        key: dotted path of keys from the top of the file.
        home: what `~` stands for.
        site: there is a site configuration, even if no file names it.
    """

    report: Report
    home: Path
    site: bool = False
    key: str = ""

    def inside(self, name: str) -> Context:
        """Return the context of the value under `name`."""
        return replace(self, key=f"{self.key}.{name}" if self.key else name)

    def item(self, number: int) -> Context:
        """Return the context of an item of this list, counted from 0."""
        return replace(self, key=f"{self.key}[{number}]")

    def add(self, where: Where, text: str) -> None:
        """Report a problem of the value that is looked at."""
        self.report.add(where, text, self.key)


Converter = Callable[[Node, Context], Any]
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a section.

    Args:
        into: name of the attribute, where it is not that of the key.
        required: for a key that must be given, how to write it.
    """

    convert: Converter
    into: str = ""
    required: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What was found in a section, for checks across its keys."""

    values: dict[str, Any]
    table: Table
    context: Context

    def add(self, key: str, text: str) -> None:
        """Report a problem at `key`, or at the section if the key is not given."""
        entry = self.table.entries.get(key)
        context = self.context.inside(key) if entry else self.context
        context.add(entry.key.where if entry else self.table.where, text)


@dataclass(frozen=True, slots=True)
class Section:
    """A converter for a map with known keys; a key without a value counts as not given.

    Args:
        build: makes the value; its defaults are those of the keys that are not given.
        check: looks at keys together.
        named: the section has a name of its own, passed on as `name`.
    """

    build: Callable[..., Any]
    fields: Mapping[str, Field]
    check: Callable[[Given], None] | None = None
    named: bool = False

    def __call__(self, node: Node, context: Context) -> Any:
        """Return what `build` makes of the map, or None if a required key is missing."""
        if not isinstance(node, Table):
            raise Unfit(f"expected a map with keys such as '{next(iter(self.fields))}', not {seen(node)}")
        values = self._values(node, context)
        if self.check:
            self.check(Given(values, node, context))
        missing = [name for name, field in self.fields.items() if field.required and name not in values]
        if missing:
            return None
        named = {"name": context.key.rpartition(".")[2]} if self.named else {}
        return self.build(**named, **{self.fields[key].into or key: value for key, value in values.items()})

    def _values(self, table: Table, context: Context) -> dict[str, Any]:
        repeated(table, context)
        values = {}
        for name, entry in table.entries.items():
            field = self.fields.get(name)
            if field is None:
                hint = "" if context.report.full else f"; {one_of(name, self.fields)}"
                context.inside(shown(name)).add(entry.key.where, f"unknown key{hint}")
            elif not (isinstance(entry.node, Scalar) and entry.node.kind == "null"):
                value = attempt(field.convert, entry.node, context.inside(name))
                if value is not _NOTHING:
                    values[name] = value
        for name, field in self.fields.items():
            entry = table.entries.get(name)  # type: ignore[assignment]
            if field.required and (entry is None or getattr(entry.node, "kind", "") == "null"):
                context.add(table.where, f"'{name}' is missing; write for example '{name}: {field.required}'")
        return values


def repeated(table: Table, context: Context) -> None:
    """Report the keys that stand more than once in a map."""
    for key, _node in table.repeated:
        first = table.entries[key.text].key.where
        context.inside(shown(key.text)).add(key.where, f"the key is there already, in line {first.line}")


def attempt(convert: Converter, node: Node, context: Context) -> Any:
    """Return the converted value; report what does not fit and return a mark that is no value."""
    try:
        return convert(node, context)
    except Unfit as exc:
        context.add(node.where, str(exc))
        return _NOTHING


def table(convert: Converter, name: Callable[[Scalar], None], example: str) -> Converter:
    """Return a converter for a map whose keys are free; `name` raises Unfit for a key that cannot be."""

    def map_of(node: Node, context: Context) -> dict[str, Any]:
        if not isinstance(node, Table):
            raise Unfit(f"expected a map, for example {example}, not {seen(node)}")
        repeated(node, context)
        values = {}
        for text, entry in node.entries.items():
            inside = context.inside(shown(text))
            if (value := _member(convert, name, entry, inside)) is not _NOTHING:
                values[text] = value
        return values

    return map_of


def _member(convert: Converter, name: Callable[[Scalar], None], entry: Entry, context: Context) -> Any:
    try:
        name(entry.key)
    except Unfit as exc:
        context.add(entry.key.where, str(exc))
    return attempt(convert, entry.node, context)


def list_of(convert: Converter, example: str) -> Converter:
    """Return a converter for a list, which becomes a tuple."""

    def items(node: Node, context: Context) -> tuple[Any, ...]:
        if not isinstance(node, Items):
            raise Unfit(f"expected a list, for example {example}, not {seen(node)}")
        values = [attempt(convert, item, context.item(number)) for number, item in enumerate(node.items)]
        return tuple(value for value in values if value is not _NOTHING)

    return items


def text(node: Node, _context: Context, expected: str = "expected text", secret: bool = False) -> str:
    """Convert a word or a quoted text of one line."""
    if not isinstance(node, Scalar) or node.kind == "null":
        raise Unfit(expected if secret else f"{expected}, not {seen(node)}")
    if node.kind != "text":
        raise Unfit(f"{expected}; put it in quotes" if secret else f"{expected}, but {_misread(node)}")
    if len(node.text) > MAX_TEXT:
        raise Unfit(f"longer than {MAX_TEXT} characters")
    if any(ord(letter) < 32 or letter == "\x7f" or "\ud800" <= letter <= "\udfff" for letter in node.text):
        raise Unfit("has a control character or a line break in it")
    return node.text


def key_text(key: Scalar) -> None:
    """Take any key that YAML reads as text (and not, as `on`, as yes)."""
    if key.kind != "text":
        raise Unfit(f"expected text as key, but {_misread(key)}")


def boolean(node: Node, _context: Context) -> bool:
    """Convert true or false."""
    if not isinstance(node, Scalar) or node.kind != "bool":
        raise Unfit(f"expected true or false, not {seen(node)}")
    return bool(node.value)


def integer(low: int, high: int) -> Converter:
    """Return a converter for whole numbers from `low` to `high`."""

    def whole(node: Node, _context: Context) -> int:
        if not isinstance(node, Scalar) or node.kind != "int" or ":" in node.text:
            unquoted = "; leave the quotes out" if _is_number(node) else ""
            raise Unfit(f"expected a whole number from {low} to {high}, not {seen(node)}{unquoted}")
        if not low <= node.value <= high:
            raise Unfit(f"{shown(node.text)} is out of range; expected {low} to {high}")
        return int(node.value)

    return whole


def measure(
    read: Callable[[str], Any], show: Callable[[Any], str], low: Any, high: Any, plain: bool = True
) -> Converter:
    """Return a converter for numbers with a unit; a `plain` number is in the base unit."""

    def measured(node: Node, _context: Context) -> Any:
        if plain and isinstance(node, Scalar) and node.kind in ("int", "float") and ":" not in node.text:
            value = node.value
        else:
            value = _with_unit(read, node)
        if not math.isfinite(value) or not low <= value <= high:
            raise Unfit(f"{shown(node.text)} is out of range; expected {show(low)} to {show(high)}")  # type: ignore[union-attr]
        return type(low)(value)

    return measured


def _with_unit(read: Callable[[str], Any], node: Node) -> Any:
    try:
        return read(node.text if isinstance(node, Scalar) else "")
    except ValueError as exc:
        raise Unfit(f"{exc}" if "unknown unit" in str(exc) else f"{exc}, not {seen(node)}") from None


def choice(*known: str) -> Converter:
    """Return a converter for one of a few words."""

    def one(node: Node, context: Context) -> str:
        word = text(node, context, f"expected {' or '.join(known)}")
        if word not in known:
            raise Unfit(f"unknown word '{shown(word)}'; {one_of(word, known)}")
        return word

    return one


def path(node: Node, context: Context) -> Path:
    """Convert a path; `~` is expanded, and a relative one starts where its file stands."""
    word = text(node, context, "expected a path")
    if not word:
        raise Unfit("expected a path, not an empty text")
    if word == "~" or word.startswith("~/"):
        return context.home / word[2:]
    if word.startswith("~"):
        raise Unfit(f"'{shown(word)}': only '~/' is expanded; write the whole path")
    return (node.where.file.parent if node.where.file else Path("/")) / word


def plain(node: Node, context: Context) -> Any:
    """Convert whatever YAML can say in maps, lists, text, numbers, true, false and null."""
    if isinstance(node, Items):
        return [value for value in map(lambda item: attempt(plain, item, context), node.items)]
    if isinstance(node, Table):
        return table(plain, key_text, "{live: true}")(node, context)
    if node.kind == "timestamp":
        raise Unfit(f"{_misread(node)}")
    if node.kind == "float" and not math.isfinite(node.value):
        raise Unfit(f"expected a finite number, not {shown(node.text)}")
    if node.kind == "int" and not -(2**63) <= node.value < 2**64:
        raise Unfit("the number has more than 64 bits")
    return node.value


def seen(node: Node) -> str:
    """Return what a node is, for messages; never used for a secret."""
    if isinstance(node, Table):
        return "a map"
    if isinstance(node, Items):
        return "a list"
    if node.kind == "null":
        return "nothing"
    return f"'{shown(node.text)}'"


def shown(word: str) -> str:
    """Return a word as a message shows it: on one line, and cut where it is long."""
    line = "".join(letter if letter.isprintable() else "?" for letter in word[: _SHOWN + 1])
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _misread(node: Scalar) -> str:
    kinds = {"bool": "yes or no", "timestamp": "a date", "null": "nothing", "merge": "a merge key"}
    kind = kinds.get(node.kind, "a number")
    word = shown(node.text)
    return f"{word} is read as {kind}; put it in quotes: '{word}'"


def _is_number(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "text" and node.text.strip().isdecimal()
