"""What goes to standard output: JSON, colours, and how wide it may be."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def json_text(value: Any, one_line: bool = False) -> str:
    """Return a value as JSON, with a line end; bytes become text, or base64 if they are none."""
    import json

    return json.dumps(value, indent=None if one_line else 2, default=_bytes) + "\n"


def _bytes(value: object) -> Any:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"base64": b64encode(value).decode()}


def use_colour() -> bool:
    """Tell whether to colour what is printed: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_columns() -> int | None:
    """Return how wide the terminal is; None if it is none: lines that programs read are not broken."""
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or None
