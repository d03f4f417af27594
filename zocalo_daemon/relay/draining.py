"""Where a message goes whose queue is drained (pure)."""

from __future__ import annotations

import json
from typing import Any

from zocalo_daemon.errors import ZocaloError


def recipe_id(body: bytes) -> str | None:
    """Return the recipe ID of a message, None if it is of no recipe."""
    try:
        return str(json.loads(body)["environment"]["ID"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def target(body: bytes, source: str, wanted: str | None) -> str:
    """Return the queue for a message.

    Args:
        source: the queue that it is in.
        wanted: the one that was asked for, None for what its recipe says.

    Raises:
        ZocaloError: its recipe does not say, or says the queue that it is in.
    """
    found = wanted or _of_recipe(body)
    if not isinstance(found, str) or not found:
        raise ZocaloError(
            f"Could not determine target queue for message: the oldest one of {source} has no recipe "
            "that names one; give a queue instead of '.'"
        )
    if found == source:
        raise ZocaloError(f"the oldest message of {source} belongs there, says its recipe")
    return found


def _of_recipe(body: bytes) -> Any:
    try:
        message = json.loads(body)
        return message["recipe"][str(message["recipe-pointer"])]["queue"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
