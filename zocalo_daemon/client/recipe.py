"""Recipes in files: what is wrong with one, line by line, and how it looks drawn as a tree."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from zocalo_daemon.client import drawing, placeholders
from zocalo_daemon.client.output import json_text
from zocalo_daemon.client.table import clean
from zocalo_daemon.protocol.recipe import Path, dotted, problems

MAX_BYTES = 16 * 1024 * 1024

# One token of JSON: punctuation, a string, or a number or word.
_TOKEN = re.compile(r'[ \t\n\r]*([{}\[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}\[\],:"]+)')


def check_text(text: str, name: str) -> list[str]:
    """Return every problem of a recipe, each as `name:line: where: what`."""
    return [
        f"{name}:{line}: {where}: {what}" if where else f"{name}:{line}: {what}"
        for line, where, what in _examine(text)
    ]


def check_file(path: str) -> list[str]:
    """Return every problem of a recipe file; that it cannot be read is one."""
    try:
        return check_text(_read(path), path)
    except _Unreadable as e:
        return [f"{path}: {e}"]


def run_check(paths: list[str], json: bool) -> int:
    """Print what is wrong with each file (`-` is standard input); return 1 if anything is, else 0.

    Args:
        json: print one document: {path: [{"line", "where", "what"}]}.
    """
    found: dict[str, list[tuple[int, str, str]]] = {}
    for path in paths:
        try:
            found[path] = _examine(_read(path))
        except _Unreadable as e:
            found[path] = [(0, "", str(e))]
    if json:
        fields = ("line", "where", "what")
        document = {path: [dict(zip(fields, one, strict=True)) for one in found[path]] for path in found}
        sys.stdout.write(json_text(document))
    else:
        for path, items in found.items():
            for line, where, what in items:
                _print(": ".join(part for part in (f"{path}:{line}" if line else path, where, what) if part))
            if not items:
                _print(f"{path}: ok")
    return 1 if any(found.values()) else 0


def run_show(path: str, json: bool, form: str = "text") -> int:
    """Print a drawing of a recipe file (`-` is standard input); if it cannot be drawn, say why and return 1.

    Args:
        json: print {"start": [...], "error": [...], "nodes": [...]}, the nodes in order, instead.
        form: "text", "svg" for a picture, or "dot" for the language of Graphviz.
    """
    try:
        text = _read(path)
        recipe = _recipe(text)
    except _Unreadable as e:
        sys.stderr.write(f"{clean(path)}: {clean(e)}\n")
        return 1
    except (ValueError, RecursionError):
        sys.stderr.writelines(f"{clean(problem)}\n" for problem in check_text(text, path))
        return 1
    if json:
        sys.stdout.write(json_text(drawing.outline(recipe)))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _drawn(recipe, form))
    return 0


def _drawn(recipe: dict[str, Any], form: str) -> list[str]:
    if form == "svg":
        from zocalo_daemon.client.picture import svg

        return svg(recipe)
    return drawing.dot(recipe) if form == "dot" else drawing.draw(recipe)


def _recipe(text: str) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads(text)
    if any(problem.fatal for problem in problems(recipe)):
        raise ValueError("the recipe is not valid")
    return recipe


class _Unreadable(Exception):
    """There is no text in this file."""


def _read(path: str) -> str:
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _Unreadable(f"has more than {MAX_BYTES >> 20} MiB")
        return data.decode()
    except OSError as e:
        raise _Unreadable(f"cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise _Unreadable(f"line {line} is not UTF-8 text") from None


def _examine(text: str) -> list[tuple[int, str, str]]:
    """Return (line, where, what) of each problem, in the order of lines."""
    try:
        recipe = json.loads(text)
    except json.JSONDecodeError as e:
        return [(e.lineno, "", f"not valid JSON: {e.msg} (column {e.colno})")]
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets of thousands of levels
        return [(1, "", "not valid JSON: a number too long, or lists nested too deep")]
    places, repeated = _places(text)
    found = [(places.get(path, 1), dotted(path), what) for path, what, _ in problems(recipe)]
    found += [(places.get(path, 1), dotted(path), what) for path, what in placeholders.wrong(recipe)]
    found += [
        (line, dotted(path), "the key is there already; only the last one counts") for line, path in repeated
    ]
    return sorted(found, key=lambda problem: problem[0])


def _places(text: str) -> tuple[dict[Path, int], list[tuple[int, Path]]]:
    """Return the line of each value of a valid JSON document by its path, and the keys that are there again.

    A key's line counts, not that of its value. json.JSONDecoder tells no positions to its hooks.
    """
    places: dict[Path, int] = {(): 1}
    repeated: list[tuple[int, Path]] = []
    path: list[Any] = []  # from the top to the value that comes next; None while its key is to come
    line, end = 1, 0
    for match in _TOKEN.finditer(text):
        word, start = match[1], match.start(1)
        line, end = line + text.count("\n", end, start), start
        if word == ",":
            path[-1] = path[-1] + 1 if isinstance(path[-1], int) else None
        elif word in "]}":
            path.pop()
        elif path and path[-1] is None:
            path[-1] = json.loads(word)
            if tuple(path) in places:
                repeated.append((line, tuple(path)))
            places[tuple(path)] = line
        elif word != ":":
            if path and isinstance(path[-1], int):
                places[tuple(path)] = line
            if word in "[{":
                path.append(0 if word == "[" else None)
    return places, repeated


def _print(line: str) -> None:
    sys.stdout.write(clean(line) + "\n")
