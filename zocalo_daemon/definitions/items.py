"""A definition of RabbitMQ: something that it holds besides messages, by kind and key (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

# In the order in which one may need the other.
KINDS = ("user", "vhost", "permission", "policy", "exchange", "queue", "binding")
DEFAULT_VHOST = "/"
# What RabbitMQ takes an argument for that is not given.
_UNSAID = {"x-queue-type": "classic", "x-single-active-consumer": False}

Key = tuple[str, ...]


class Item(NamedTuple):
    """A definition.

    Args:
        key: user: (name,). vhost: (name,). permission: (vhost, user). policy, exchange, queue: (vhost, name).
            binding: (vhost, source, "queue" or "exchange", destination, routing key, arguments as JSON).
        body: the rest, as the API has it.
        place: FILE:LINE, for errors.
    """

    kind: str
    key: Key
    body: Mapping[str, Any]
    place: str = ""

    @property
    def vhost(self) -> str | None:
        """The virtual host that it is in, None for what is in none."""
        return None if self.kind in ("user", "vhost") else self.key[0]

    @property
    def name(self) -> str:
        """What a person calls it, without its virtual host."""
        if self.kind != "binding":
            return self.key[-1]
        _vhost, source, kind, destination, routing_key, arguments = self.key
        by = [f"by {routing_key}"] if routing_key else []
        by += [arguments] if arguments != "{}" else []
        to = destination if kind == "queue" else f"exchange {destination}"
        return " ".join([f"{source or 'the default exchange'} -> {to}", *by])

    @property
    def label(self) -> str:
        """What it is called in lines for people."""
        vhost = f" in {self.vhost}" if self.vhost is not None else ""
        of = "permission of" if self.kind == "permission" else self.kind
        return f"{of} {self.name}{vhost}"


def binding(
    vhost: str, source: str, destination: str, routing_key: str,
    *, kind: str = "queue", arguments: Mapping[str, Any] | None = None, place: str = "",
) -> Item:  # fmt: skip
    """Return the definition of a binding, which is all key."""
    text = json.dumps(arguments or {}, sort_keys=True)
    return Item("binding", (vhost, source, kind, destination, routing_key, text), {}, place)


def differences(wanted: Item, there: Mapping[str, Any]) -> list[str]:
    """Return what is different in what the broker has, one line for each; of a password no more than that.

    What the wanted one does not mention is as it is.
    """
    found = []
    for name, value in wanted.body.items():
        if name in ("password_hash", "hashing_algorithm"):
            continue  # compared by whoever knows the password
        old, new = _comparable(name, there.get(name)), _comparable(name, value)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            found += [f"{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}" for key in keys]
        else:
            found.append(f"{name}: {_shown(old)} -> {_shown(new)}")
    if wanted.body.get("password_hash", "") != there.get("password_hash", ""):
        found.append("password")
    return found


def _comparable(name: str, value: Any) -> Any:
    if name == "tags":
        words = value.split(",") if isinstance(value, str) else value or []
        return sorted({word.strip() for word in words} - {""})
    if name == "arguments":
        return {**_UNSAID, **(value or {})}
    return value


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, sort_keys=True)
