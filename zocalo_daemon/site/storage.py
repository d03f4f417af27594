"""What the plugin `storage` of a site says, from the plain data of `load` (pure; needs no workflows)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Directories that commands ask for. Everything else is for services, and may be secret.
LOCATIONS = ("zocalo.dlq.purge_location", "zocalo.go.fallback_location", "zocalo.recipe_directory")


def values(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the values of all storage configurations that are active; later ones count."""
    found: dict[str, Any] = {}
    if data is None:
        return found
    for entry in (entry for name in data["active"] for entry in data["environments"].get(name, ())):
        configuration = data["configurations"].get(entry)
        if isinstance(configuration, dict) and configuration.get("plugin") == "storage":
            found |= configuration
    return found


def locations(data: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the directories that commands ask for, by key."""
    found = values(data)
    return {key: str(found[key]) for key in LOCATIONS if found.get(key)}
