"""What a broker has, by what its management API answers (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from zocalo_daemon.definitions.items import Item, Key, binding

Rows = Iterable[Mapping[str, Any]]

_FIELDS = {
    "user": ("password_hash", "hashing_algorithm", "tags"),
    "vhost": ("description", "tags", "tracing"),
    "permission": ("configure", "write", "read"),
    "policy": ("pattern", "definition", "priority", "apply-to"),
    "exchange": ("type", "durable", "auto_delete", "internal", "arguments"),
    "queue": ("durable", "auto_delete", "arguments"),
}
_KEYS = {"user": ("name",), "vhost": ("name",), "permission": ("vhost", "user")}


class Held(NamedTuple):
    """A definition that the broker has.

    Args:
        temporary: it belongs to a client or to the broker itself, and is nobody else's to remove.
        messages: that are in a queue, as of a few seconds ago.
        properties: by which the API knows a binding.
    """

    item: Item
    temporary: bool = False
    messages: int = 0
    properties: str = ""


class Broker(NamedTuple):
    """All that a broker has; a kind that the user may not see is not there.

    Args:
        user: who asks.
    """

    user: str
    held: Mapping[str, Mapping[Key, Held]]

    def of(self, kind: str) -> Mapping[Key, Held]:
        """Return what it has of a kind."""
        return self.held.get(kind, {})


def broker(user: str, answers: Mapping[str, Rows]) -> Broker:
    """Return what a broker has.

    Args:
        answers: the lists of the API, by kind.
    """
    held = {kind: dict(_held(kind, row) for row in answers[kind]) for kind in _FIELDS if kind in answers}
    queues = held.get("queue", {})
    bindings = (_binding(row, queues) for row in answers.get("binding", ()))
    return Broker(user, {**held, "binding": {one.item.key: one for one in bindings}})


def _held(kind: str, row: Mapping[str, Any]) -> tuple[Key, Held]:
    key = tuple(str(row[name]) for name in _KEYS.get(kind, ("vhost", "name")))
    body = {name: row.get(name) for name in _FIELDS[kind]}
    item = Item(kind, key, body)
    if kind == "exchange":
        temporary = not key[1] or "amq." in key[1] or bool(row.get("auto_delete"))
    else:
        temporary = kind == "queue" and _is_temporary(key[1], row)
    return key, Held(item, temporary, int(row.get("messages") or 0))


def _is_temporary(name: str, row: Mapping[str, Any]) -> bool:
    if not name or name.startswith("amq.") or row.get("auto_delete") or row.get("exclusive"):
        return True
    return "x-expires" in (row.get("arguments") or {})  # the broker ends it, as those in which delays wait


def _binding(row: Mapping[str, Any], queues: Mapping[Key, Held]) -> Held:
    vhost, source, destination = (str(row[key]) for key in ("vhost", "source", "destination"))
    kind = str(row["destination_type"])
    item = binding(
        vhost, source, destination, str(row.get("routing_key", "")), kind=kind, arguments=row.get("arguments")
    )
    to = queues.get((vhost, destination)) if kind == "queue" else None
    # Those that lead to exchanges are left alone, as zocalo does.
    temporary = not source or "amq." in source or to is None or to.temporary
    return Held(item, temporary, properties=str(row.get("properties_key", "")))
