"""Placeholders in a recipe, {name}, which the Dispatcher fills in with parameters (pure).

It does so in each text and key with Python's str.format; what that can never do rejects every request.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from zocalo_daemon.protocol.recipe import Path

_COPY = "{$REPLACE"  # {$REPLACE:name} stands for the parameter itself, not for its text
_HINT = "; braces that are no placeholder are doubled: {{ }}"


def wrong(recipe: Any) -> Iterator[tuple[Path, str]]:
    """Yield where a text of a recipe cannot be filled in, whatever the parameters, and why."""
    todo: list[tuple[Path, Any]] = [((), recipe)]
    while todo:  # not by recursion: it may be nested deeper than Python goes
        path, value = todo.pop()
        if isinstance(value, str) and (problem := _problem(value)):
            yield path, problem + _HINT
        elif isinstance(value, list):
            todo += [((*path, i), item) for i, item in enumerate(value)]
        elif isinstance(value, dict):
            for key, item in value.items():
                if problem := _problem(key):
                    yield (*path, key), problem + _HINT
                todo.append(((*path, key), item))


def _problem(text: str) -> str | None:
    if "{" not in text and "}" not in text:
        return None
    from string import Formatter

    if text.startswith(_COPY) and text.endswith("}"):
        text = "{" + text[len(_COPY) + 1 : -1] + "}"
    try:
        for _, name, form, conversion in Formatter().parse(text):
            if name is None:
                continue
            if not name or re.match(r"\d+(\W|$)", name):
                return f"{{{name}}} is not the name of a parameter"
            if (form and re.search(r"[^\w.\[\]-]", name)) or conversion not in (None, "r", "s", "a"):
                return f"{{{name}{'!' + conversion if conversion else ''}:{form}}} is no placeholder"
    except ValueError as e:
        return f"cannot be filled in: {e}"
    return None
