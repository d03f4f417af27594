"""Keeps secrets of plugin configurations out of what is written for people: reprs, logs, errors (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = "***"
_NAMES = re.compile(
    r"passw|passphrase|secret|token|credential|(api|private)_?key|(^|[._-])pass$", re.IGNORECASE
)
_SHORTEST = 3  # letters: what is shorter would be struck out of ordinary words


class Values(dict[Any, Any]):
    """A plugin configuration: a dictionary whose repr has no secrets."""

    def __repr__(self) -> str:
        return repr(_veiled(dict(self)))


def struck(text: str, configuration: Mapping[Any, Any]) -> str:
    """Return `text` without the secrets of a configuration."""
    for secret in sorted(_secrets(configuration), key=len, reverse=True):
        text = text.replace(secret, SHOWN)
    return text


def _veiled(value: Any, secret: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {key: _veiled(inner, secret or is_secret(key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_veiled(inner, secret) for inner in value]
    return SHOWN if secret and value is not None else value


def _secrets(value: Any, secret: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, secret or is_secret(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _secrets(inner, secret)
    elif secret and len(str(value)) >= _SHORTEST:
        yield str(value)


def is_secret(key: Any) -> bool:
    """Return whether what stands under a key is a secret."""
    return isinstance(key, str) and _NAMES.search(key) is not None
