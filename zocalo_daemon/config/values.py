"""Converters of single values: text, numbers with and without units, words of a few, paths."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .nodes import Items, Node, Scalar, Table
from .problems import one_of
from .walk import Context, Converter, Unfit, attempt, seen, shown, table

MAX_TEXT = 4096  # characters of one value


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
            assert isinstance(node, Scalar)  # or it had no unit
            raise Unfit(f"{shown(node.text)} is out of range; expected {show(low)} to {show(high)}")
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


def octal(node: Node, context: Context) -> str:
    """Convert the bits of a umask, in quotes: YAML reads 0027 as a number, and 27 as another one."""
    expected = "expected three or four octal digits"
    word = text(node, context, expected)
    if not re.fullmatch("0?[0-7]{3}", word):
        raise Unfit(f"{expected}, not '{shown(word)}'")
    return word


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
        raise Unfit("the number has more than 64 bits; put it in quotes")
    if node.kind == "text" and any("\ud800" <= letter <= "\udfff" for letter in node.text):
        raise Unfit("half of a surrogate pair is no letter")
    return node.value


def _misread(node: Scalar) -> str:
    kinds = {"bool": "yes or no", "timestamp": "a date", "null": "nothing", "merge": "a merge key"}
    kind = kinds.get(node.kind, "a number")
    word = shown(node.text)
    return f"{word} is read as {kind}; put it in quotes: '{word}'"


def _is_number(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "text" and node.text.strip().isdecimal()


def address(node: Node, context: Context) -> str:
    """Convert "address:port" to listen on: a number, since to look up a name could hold up the daemon."""
    word = text(node, context, "expected address:port, for example 127.0.0.1:8080")
    where, _, port = word.rpartition(":")
    family = socket.AF_INET6 if where.startswith("[") and where.endswith("]") else socket.AF_INET
    try:
        socket.inet_pton(family, where.strip("[]"))
    except OSError:
        raise Unfit(f"expected address:port, for example 127.0.0.1:8080, not '{shown(word)}'") from None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise Unfit(f"'{shown(word)}' has no port from 1 to 65535")
    return word


def url(node: Node, context: Context) -> str:
    """Convert the address of an HTTP server."""
    word = text(node, context)
    if not re.match(r"https?://[^/@\s]+", word) or "@" in word:
        raise Unfit("expected http://host:port or https://host:port, without a password")
    return word
