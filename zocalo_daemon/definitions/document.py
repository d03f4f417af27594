"""The file of `zocalo.configure_rabbitmq`: reads it into definitions, or says everything that is wrong.

    vhosts: [{name: zocalo, description: ..., tags: [...], tracing: false}]
    permissions: [{vhost: zocalo, user: zocalo, configure: ".*", write: ".*", read: ".*"}]
    policies: [{name: redelivery, vhost: zocalo, pattern: ".*", definition: {delivery-limit: 5}, priority: 0}]
    exchanges: [{name: results, vhost: zocalo, type: topic, durable: true, arguments: {}}]
    groups:
    - names: [images, index]
      vhost: zocalo
      settings:
        queues: {type: quorum, dead-letter-routing-key-pattern: "dlq.{name}"}
        single_active_consumer: true      # or broadcast: true, for fanout exchanges of these names
      bindings: ["", results]             # exchanges that lead to them, each by the name of the queue
    bindings: [{source: results, destination: images, vhost: zocalo, routing_key: "#"}]

What the broker has and the file does not list is removed: virtual hosts and permissions if the file lists
any; policies, exchanges, queues and bindings always, as with zocalo, and therefore their lists must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zocalo_daemon.config.nodes import MAX_BYTES, Node, Scalar, parse
from zocalo_daemon.config.problems import Report, Where
from zocalo_daemon.config.values import boolean, choice, integer, plain, text
from zocalo_daemon.config.walk import Context, Converter, Field, Section, Unfit, list_of, seen
from zocalo_daemon.definitions.items import DEFAULT_VHOST, Item, Key, binding
from zocalo_daemon.errors import ConfigError

Found = dict[str, dict[Key, Item]]

APPLY_TO = ("queues", "exchanges", "all", "classic_queues", "quorum_queues", "streams")
_DEFAULT_PATTERN = "^amq."  # zocalo's, for a policy that has none: it concerns nothing
_ALL = r"'.*'"


class _Placed(NamedTuple):
    where: Where
    values: Mapping[str, Any]

    @property
    def vhost(self) -> str:
        return str(self.values.get("vhost", DEFAULT_VHOST))


def _placed(convert: Converter) -> Converter:
    """Return a converter that also keeps where a map stands, None for one that lacks a key."""

    def place(node: Node, context: Context) -> _Placed | None:
        values = convert(node, context)
        return None if values is None else _Placed(node.where, values)

    return place


def _arguments(node: Node, context: Context) -> dict[str, Any]:
    values = plain(node, context)
    if not isinstance(values, dict):
        raise Unfit(f"expected a map, not {seen(node)}")
    return values


def _vhost(node: Node, context: Context) -> Any:
    """Convert a virtual host, which may be no more than its name."""
    return {"name": text(node, context)} if isinstance(node, Scalar) else _VHOST(node, context)


_VHOST = Section(
    dict,
    {
        "name": Field(text, required="zocalo"),
        "description": Field(text),
        "tags": Field(list_of(text, "[production]")),
        "tracing": Field(boolean),
    },
)
_PERMISSION = Section(
    dict,
    {
        "vhost": Field(text, required="zocalo"),
        "user": Field(text, required="zocalo"),
        "configure": Field(text, required=_ALL),
        "write": Field(text, required=_ALL),
        "read": Field(text, required=_ALL),
    },
)
_POLICY = Section(
    dict,
    {
        "name": Field(text, required="redelivery"),
        "vhost": Field(text),
        "pattern": Field(text),
        "definition": Field(_arguments),
        "priority": Field(integer(-(2**31), 2**31 - 1)),
        "apply-to": Field(choice(*APPLY_TO)),
    },
)
_EXCHANGE = Section(
    dict,
    {
        "name": Field(text, required="results"),
        "vhost": Field(text),
        "type": Field(text, required="direct"),
        "durable": Field(boolean),
        "auto_delete": Field(boolean),
        "internal": Field(boolean),
        "arguments": Field(_arguments),
    },
)
_BINDING = Section(
    dict,
    {
        "source": Field(text, required="results"),
        "destination": Field(text, required="images"),
        "destination_type": Field(choice("q", "e")),
        "vhost": Field(text),
        "routing_key": Field(text),
        "arguments": Field(_arguments),
    },
)
_QUEUES = Section(
    dict,
    {
        "type": Field(choice("classic", "quorum", "stream")),
        "dead-letter-routing-key-pattern": Field(text),
        "dead-letter-exchange": Field(text),
        "dead-letter-queue-create": Field(boolean),
    },
)
_SETTINGS = Section(
    dict,
    {
        "queues": Field(_QUEUES),
        "single_active_consumer": Field(boolean),
        "broadcast": Field(boolean),
        "exchanges": Field(Section(dict, {"type": Field(text)})),
    },
)
_GROUP = Section(
    dict,
    {
        "names": Field(list_of(text, "[images]"), required="[images]"),
        "vhost": Field(text),
        "settings": Field(_SETTINGS),
        "bindings": Field(list_of(text, "[results]")),
    },
)
_TOP = Section(
    dict,
    {
        "vhosts": Field(list_of(_placed(_vhost), "[{name: zocalo}]")),
        "permissions": Field(list_of(_placed(_PERMISSION), "[{vhost: zocalo, user: zocalo}]")),
        "policies": Field(list_of(_placed(_POLICY), "[{name: redelivery}]"), required="[]"),
        "exchanges": Field(list_of(_placed(_EXCHANGE), "[{name: results}]"), required="[]"),
        "groups": Field(list_of(_placed(_GROUP), "[{names: [images]}]"), required="[]"),
        "bindings": Field(list_of(_placed(_BINDING), "[{source: results}]")),
    },
)


def load(path: Path) -> Found:
    """Return the definitions of a file, by kind; kinds that it leaves alone are not there.

    Raises:
        ConfigError: it cannot be read, or every problem that is in it, each with its line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {(e.strerror or 'error').lower()}") from None
    return read(data, path)


def read(data: bytes, file: Path) -> Found:
    """Return the definitions in the bytes of a file.

    Raises:
        ConfigError: as of `load`.
    """
    report = Report()
    table = parse(data, file, report)
    report.check()
    assert table is not None
    values = _TOP(table, Context(report, file.parent))
    report.check()
    found: Found = {kind: {} for kind in ("policy", "exchange", "queue", "binding")}
    found |= {
        kind: {} for kind, key in (("vhost", "vhosts"), ("permission", "permissions")) if values.get(key)
    }
    for key, items in _ITEMS.items():
        for placed in values.get(key, ()):
            for item in items(placed, report):
                _add(found[item.kind], item, placed.where, report)
    report.check()
    return found


def _add(found: dict[Key, Item], item: Item, where: Where, report: Report) -> None:
    """Add a definition; it may stand there twice if it is the same."""
    first = found.setdefault(item.key, item)
    if dict(first.body) != dict(item.body):
        line = first.place.rpartition(":")[2]
        report.add(where, f"{item.label} is there already, and otherwise, in line {line}")


def _vhost_item(placed: _Placed, _report: Report) -> Iterator[Item]:
    body = {key: value for key, value in placed.values.items() if key != "name"}
    if "tags" in body:
        body["tags"] = list(body["tags"])
    yield Item("vhost", (placed.values["name"],), body, str(placed.where))


def _permission_item(placed: _Placed, _report: Report) -> Iterator[Item]:
    body = {key: placed.values[key] for key in ("configure", "write", "read")}
    yield Item("permission", (placed.vhost, placed.values["user"]), body, str(placed.where))


def _policy_item(placed: _Placed, _report: Report) -> Iterator[Item]:
    defaults = {"pattern": _DEFAULT_PATTERN, "definition": {}, "priority": 0, "apply-to": "queues"}
    body = {key: placed.values.get(key, default) for key, default in defaults.items()}
    yield Item("policy", (placed.vhost, placed.values["name"]), body, str(placed.where))


def _exchange_item(placed: _Placed, _report: Report) -> Iterator[Item]:
    yield _exchange(placed, placed.values["name"], placed.values)


def _exchange(placed: _Placed, name: str, values: Mapping[str, Any]) -> Item:
    defaults = {"durable": False, "auto_delete": False, "internal": False, "arguments": {}}
    body = {"type": values["type"], **{key: values.get(key, default) for key, default in defaults.items()}}
    return Item("exchange", (placed.vhost, name), body, str(placed.where))


def _binding_item(placed: _Placed, _report: Report) -> Iterator[Item]:
    values = placed.values
    yield from _led(
        placed, values["source"], values["destination"], values.get("routing_key", values["destination"]),
        kind="exchange" if values.get("destination_type") == "e" else "queue",
        arguments=values.get("arguments"),
    )  # fmt: skip


def _led(placed: _Placed, source: str, *words: str, **more: Any) -> Iterator[Item]:
    if source:  # the default exchange leads to every queue by its name, and to nothing else
        yield binding(placed.vhost, source, *words, **more, place=str(placed.where))


def _group_items(placed: _Placed, report: Report) -> Iterator[Item]:
    settings = placed.values.get("settings", {})
    for name in placed.values["names"]:
        if settings.get("broadcast"):
            yield _exchange(placed, name, {"type": "fanout", "durable": True})
            continue
        yield from _queue_items(placed, name, settings, report)
        for source in placed.values.get("bindings", ()):
            yield from _led(placed, source, name, name)


def _queue_items(placed: _Placed, name: str, settings: Mapping[str, Any], report: Report) -> Iterator[Item]:
    of = settings.get("queues", {})
    kind, pattern = of.get("type", "classic"), of.get("dead-letter-routing-key-pattern")
    arguments: dict[str, Any] = {"x-queue-type": kind}
    if kind != "stream":
        arguments["x-single-active-consumer"] = settings.get("single_active_consumer", False)
    dead = ""
    if pattern:
        try:
            dead = pattern.format(name=name)
        except (AttributeError, IndexError, KeyError, ValueError):
            where = "settings.queues.dead-letter-routing-key-pattern"
            report.add(placed.where, f"'{pattern}' may have {{name}} in braces, and nothing else", where)
            return
        arguments["x-dead-letter-exchange"] = of.get("dead-letter-exchange", "")
        arguments["x-dead-letter-routing-key"] = dead
    yield _queue(placed, name, arguments)
    if dead and of.get("dead-letter-queue-create", True):
        yield _queue(placed, dead, {"x-queue-type": kind})


def _queue(placed: _Placed, name: str, arguments: Mapping[str, Any]) -> Item:
    body = {"durable": True, "auto_delete": False, "arguments": arguments}
    return Item("queue", (placed.vhost, name), body, str(placed.where))


_ITEMS: dict[str, Callable[[_Placed, Report], Iterator[Item]]] = {
    "vhosts": _vhost_item,
    "permissions": _permission_item,
    "policies": _policy_item,
    "exchanges": _exchange_item,
    "groups": _group_items,
    "bindings": _binding_item,
}
