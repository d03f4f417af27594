"""YAML text to a tree whose every value knows its file and line, and the merging of such trees.

The tree is built from PyYAML's events and not with `yaml.compose`: the C composer recurses without a limit,
keeps the last of two equal keys in silence, and lets ten lines of aliases stand for a billion values. Here
depth, size and the number of values are bounded before anything is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.reader import Reader

from zocalo_daemon.values import Value, field

from .problems import Report, Where

MAX_BYTES = 1024 * 1024
MAX_NODES = 100_000  # aliases count with all that they stand for
MAX_DEPTH = 32

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KINDS = {"null", "bool", "int", "float", "timestamp", "merge"}  # the others, `=` among them, are text


class Scalar(NamedTuple):
    """One value; `kind` is null, bool, int, float, timestamp, merge or text; `text` is as it was written."""

    where: Where
    kind: str
    text: str
    value: Any


class Items(NamedTuple):
    """A list."""

    where: Where
    items: list[Node]


class Entry(NamedTuple):
    """One key of a map with its value."""

    key: Scalar
    node: Node


class Table(Value):
    """A map by the text of its keys; `repeated` holds what stands again under a key that is already there."""

    where: Where
    entries: dict[str, Entry] = field(default_factory=dict)
    repeated: tuple[Entry, ...] = ()


Node = Scalar | Items | Table


class _Unreadable(Exception):
    """The rest of the file makes no sense."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


def parse(data: bytes, file: Path, report: Report) -> Table | None:
    """Return the map that a file holds (an empty one for an empty file), or None after reporting why not."""
    try:
        node = _document(_decoded(data), file)
    except _Unreadable as exc:
        report.add(Where(file, exc.line), exc.text)
        return None
    if isinstance(node, Scalar) and node.kind == "null":
        return Table(node.where)
    if not isinstance(node, Table):
        report.add(node.where, "expected a map of keys and values, for example 'version: 1'")
        return None
    return node


def merge(base: Table, over: Table) -> Table:
    """Return `base` with `over` laid on it: maps merge key by key, everything else is replaced."""
    entries = dict(base.entries)
    for name, entry in over.entries.items():
        old = entries.get(name)
        if old and isinstance(old.node, Table) and isinstance(entry.node, Table):
            entries[name] = Entry(entry.key, merge(old.node, entry.node))
        else:
            entries[name] = entry
    return Table(base.where, entries, base.repeated + over.repeated)


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Unreadable(0, f"the file has more than {MAX_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise _Unreadable(line, "this line is not UTF-8 text; save the file as UTF-8") from None
    odd = Reader.NON_PRINTABLE.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        raise _Unreadable(line, f"the control character U+{ord(odd.group()):04X} may not stand in YAML")
    return text


def _document(text: str, file: Path) -> Node:
    loader = _Loader(text)
    try:
        return _Composer(loader, file).document()
    except yaml.MarkedYAMLError as exc:
        raise _Unreadable(*_in_words(exc, text)) from None
    except (yaml.YAMLError, RecursionError):
        raise _Unreadable(1, "not valid YAML") from None
    finally:
        loader.dispose()


class _Composer:
    """Builds the tree of one document from a loader's events."""

    def __init__(self, loader: Any, file: Path) -> None:
        self._loader = loader
        self._file = file
        self._count = 0
        self._anchors: dict[str, tuple[Node, int]] = {}

    def document(self) -> Node:
        """Return the one document of the stream."""
        self._loader.get_event()
        event = self._loader.get_event()
        if isinstance(event, yaml.StreamEndEvent):
            return self._null(1)
        node = self._node(self._loader.get_event(), 0)
        self._loader.get_event()
        event = self._loader.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            line = event.start_mark.line + 1
            raise _Unreadable(line, "a second YAML document begins here; a file holds one")
        return node

    def _null(self, line: int) -> Scalar:
        return Scalar(Where(self._file, line), "null", "", None)

    def _node(self, event: Any, depth: int, key_line: int = 0) -> Node:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, line)
        if event.tag is not None:
            raise _Unreadable(
                line, "YAML tags (words after '!') have no meaning here; quote text that begins so"
            )
        if depth > MAX_DEPTH:
            raise _Unreadable(line, f"maps and lists are nested more than {MAX_DEPTH} deep")
        before = self._count
        self._grow(1, line)
        if key_line and not getattr(event, "flow_style", True):
            line = key_line  # people look for a block at the line of its name
        where = Where(self._file, line)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, where)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Items(where, self._items(depth))
        else:
            node = self._table(where, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node, self._count - before
        return node

    def _grow(self, count: int, line: int) -> None:
        self._count += count
        if self._count > MAX_NODES:
            raise _Unreadable(line, f"more than {MAX_NODES} values, counting those behind aliases (*name)")

    def _alias(self, anchor: str | None, line: int) -> Node:
        known = self._anchors.get(anchor or "")
        if known is None:  # the name is not shown: it may be a password that begins with an asterisk
            raise _Unreadable(
                line, "this '*' refers to no anchor ('&name') before it; quote text that begins with '*'"
            )
        self._grow(known[1], line)
        return known[0]

    def _scalar(self, event: Any, where: Where) -> Scalar:
        text = event.value
        tag = self._loader.resolve(yaml.ScalarNode, text, event.implicit)
        kind = tag.rpartition(":")[2]
        if kind not in _KINDS:
            return Scalar(where, "text", text, text)
        node = yaml.ScalarNode(tag, text)
        try:
            return Scalar(where, kind, text, _VALUES.get(kind, _as_text)(self._loader, node))
        except ValueError:  # 0b_, or more digits than Python converts
            return Scalar(where, "text", text, text)

    def _items(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _table(self, where: Where, depth: int) -> Table:
        entries: dict[str, Entry] = {}
        repeated: list[Entry] = []
        merged: list[Table] = []
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(self._loader.get_event(), depth + 1, key.where.line)
            if not isinstance(key, Scalar):
                raise _Unreadable(key.where.line, "a key has to be a single word, not a map or a list")
            if key.kind == "merge":
                merged += _merged(value)
            elif key.text in entries:
                repeated.append(Entry(key, value))
            else:
                entries[key.text] = Entry(key, value)
        for other in merged:
            for name, entry in other.entries.items():
                entries.setdefault(name, entry)
        return Table(where, entries, tuple(repeated))


def _merged(node: Node) -> list[Table]:
    """Return the maps that a merge key brings in (https://yaml.org/type/merge.html)."""
    nodes = node.items if isinstance(node, Items) else [node]
    tables = [n for n in nodes if isinstance(n, Table)]
    if len(tables) != len(nodes):
        raise _Unreadable(node.where.line, "after '<<' stands the alias of a map, for example '<<: *name'")
    return tables


def _as_text(_loader: Any, node: yaml.ScalarNode) -> str:
    return str(node.value)


_VALUES: dict[str, Any] = {
    "null": lambda _loader, _node: None,
    "bool": _Loader.construct_yaml_bool,
    "int": _Loader.construct_yaml_int,
    "float": _Loader.construct_yaml_float,
}

_INDENTATION = "the indentation does not match the lines above, or a quote or bracket is open"
_ESCAPE = "an unknown escape after '\\'; use single quotes"

# What PyYAML and libyaml say, in the words of somebody who did not write a parser.
_WORDS = {
    "found character that cannot start": "a value cannot begin with this character; quote it",
    "found character '": "a value cannot begin with this character; quote it",
    "found a tab character": "a tab indents this line; use spaces",
    "mapping values are not allowed": "a ':' where none can be; quote the value, or correct the indentation",
    "could not find expected ':'": "a ':' is missing after the key; write 'key: value'",
    "did not find expected ',' or": "a bracket is not closed, or a ',' is missing",
    "expected ',' or": "a bracket is not closed, or a ',' is missing",
    "found unexpected end of stream": "a quote is opened and never closed",
    "did not find expected key": _INDENTATION,
    "expected <block end>": _INDENTATION,
    "did not find expected '-'": "expected another '- ' of the list, or less indentation",
    "did not find expected <document start>": "the indentation does not match the lines above",
    "block sequence entries are not allowed": "a '- ' where no list can begin; put it on a line of its own",
    "found unknown escape character": _ESCAPE,
    "did not find expected hexdecimal": _ESCAPE,
    "expected escape sequence": _ESCAPE,
    "found unexpected ':'": "a ':' where none can be; quote the value",
    "did not find expected node content": "a value is missing",
    "expected the node content": "a value is missing",
    "expected '<document start>'": "the indentation does not match the lines above",
}


def _in_words(exc: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    mark = exc.problem_mark or exc.context_mark
    line = mark.line if mark else 0
    lines = text.split("\n")
    start = lines[line][: mark.column + 1] if mark and line < len(lines) else ""
    if "\t" in start and not start.strip():
        return line + 1, _WORDS["found a tab character"]
    problem = exc.problem or ""
    words = next((words for said, words in _WORDS.items() if problem.startswith(said)), "not valid YAML here")
    opened = exc.context_mark.line if exc.context_mark else line
    if problem.startswith("could not find expected ':'"):
        return opened + 1, words  # where the parser noticed does not help
    since = f" (it begins in line {opened + 1})" if opened < line else ""
    return line + 1, words + since
