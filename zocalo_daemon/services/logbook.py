"""The Dispatcher's logbook: one text file for each recipe that was started, found by its ID."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any


def entry_path(root: Path, recipe_id: str, when: time.struct_time) -> Path | None:
    """Return root/YYYY-MM/ab/cdef… for a recipe ID abcdef…, or None if it has too few usable characters."""
    clean = re.sub(r"[^a-zA-Z0-9-]+", "", recipe_id)
    if not 3 <= len(clean) <= 250:  # the longest file name is 255 bytes
        return None
    return root / time.strftime("%Y-%m", when) / clean[:2] / clean[2:]


def entry_text(header: Any, original: Any, parsed: Any, recipe: Any) -> str:
    """Return the four sections of an entry."""
    sections = {
        "Incoming message header": header,
        "Incoming message body": original,
        "Parsed message body": parsed,
        "Recipe object": recipe,
    }
    return "\n\n".join(f"{title}:\n{_neat(value)}" for title, value in sections.items()) + "\n"


def write_entry(path: Path, text: str) -> None:
    """Write an entry whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _neat(value: Any) -> str:
    return json.dumps(_text_keys(value), sort_keys=True, default=str, indent=2)


def _text_keys(value: Any) -> Any:
    """Return a value whose keys can be sorted: a recipe has both names and numbers."""
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_text_keys(item) for item in value]
    return value
