"""The walker: turns the tree of a file into values by a table of keys, and reports what does not fit.

A converter takes a node and a `Context` and returns the value, or raises `Unfit` with what was expected.
Converters of lists and maps catch that for each of their members, report it with its place and key, and
go on, so that one reading finds every problem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zocalo_daemon.values import Value

from .nodes import Entry, Items, Node, Scalar, Table
from .problems import Report, Where, one_of

_SHOWN = 40  # characters of a value in a message


class Unfit(Exception):
    """The value is not what its key takes; the message ends the line of the problem."""


class Context(NamedTuple):
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
        return self._replace(key=f"{self.key}.{name}" if self.key else name)

    def item(self, number: int) -> Context:
        """Return the context of an item of this list, counted from 0."""
        return self._replace(key=f"{self.key}[{number}]")

    def add(self, where: Where, text: str) -> None:
        """Report a problem of the value that is looked at."""
        self.report.add(where, text, self.key)


Converter = Callable[[Node, Context], Any]
_NOTHING = object()


class Field(NamedTuple):
    """One key of a section.

    Args:
        into: name of the attribute, where it is not that of the key.
        required: for a key that must be given, how to write it.
    """

    convert: Converter
    into: str = ""
    required: str = ""


class Given(NamedTuple):
    """What was found in a section, for checks across its keys."""

    values: dict[str, Any]
    table: Table
    context: Context

    def add(self, key: str, text: str) -> None:
        """Report a problem at `key`, or at the section if the key is not given."""
        entry = self.table.entries.get(key)
        context = self.context.inside(key) if entry else self.context
        context.add(entry.key.where if entry else self.table.where, text)


class Section(Value):
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
            given = table.entries.get(name)
            if field.required and (given is None or getattr(given.node, "kind", "") == "null"):
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
    """Return a word as a message shows it: cut where it is long, or where a password may follow.

    A quote that is closed too late puts the lines of other keys into the text of this one.
    """
    password = re.search(r"passw\w*(?=\W)", word, re.IGNORECASE)
    limit = min(_SHOWN, password.end()) if password else _SHOWN
    return word if len(word) <= limit else word[:limit] + "…"
