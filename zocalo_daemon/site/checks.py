"""Checks the configurations of the plugins that are built in, key by key and each with its place."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from zocalo_daemon.config.nodes import Entry, Items, Node, Scalar, Table
from zocalo_daemon.config.problems import Report
from zocalo_daemon.config.values import choice, text, url
from zocalo_daemon.config.walk import Context, Unfit, seen, shown

Check = Callable[[Node], None]
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\]", re.ASCII)


def check(key: str, table: Table, report: Report) -> None:
    """Report what is wrong with the plugin configuration `key`, if its plugin is built in."""
    entry = table.entries.get("plugin")
    plugin = entry.node.text if entry is not None and isinstance(entry.node, Scalar) else ""
    for name, (convert, required) in _KEYS.get(plugin, {}).items():
        if name in table.entries:
            node = table.entries[name].node
            try:
                convert(node)
            except Unfit as problem:
                report.add(node.where, str(problem), f"{key}.{name}")
        elif required and not (plugin == "opentelemetry" and "endpoint" in table.entries):
            report.add(table.where, f"'{name}' is missing", key)
    if plugin in ("pika", "stomp"):
        _fit(key, table, report)
    if plugin == "logging":
        _logging(key, table, report)


def words(value: object) -> list[str]:
    """Return the words of a comma list."""
    return [word.strip() for word in str(value).split(",")]


def _context() -> Context:
    return Context(Report(), Path())


def _text(node: Node) -> None:
    text(node, _context())


def _secret(node: Node) -> None:
    text(node, _context(), "expected the password as text", secret=True)


def _hosts(node: Node) -> None:
    _text(node)
    for word in words(node.text if isinstance(node, Scalar) else ""):
        if not _HOST.fullmatch(word):
            raise Unfit(f"expected a host, or several with commas between, not '{shown(word)}'")


def _are_ports(node: Node) -> bool:
    given = words(node.text) if isinstance(node, Scalar) and node.kind in ("int", "text") else [""]
    return all(word.isdecimal() and 1 <= int(word) <= 65535 for word in given)


def _ports(node: Node) -> None:
    if not _are_ports(node):
        raise Unfit(f"expected a port, or several with commas between, not {seen(node)}")


def _port(node: Node) -> None:
    if not _are_ports(node) or "," in getattr(node, "text", ""):
        raise Unfit(f"expected a port, not {seen(node)}")


def _url(node: Node) -> None:
    url(node, _context())


def _mail(node: Node) -> None:
    _text(node)
    if "@" not in getattr(node, "text", ""):
        raise Unfit(f"expected a mail address, not {seen(node)}")


def _seconds(node: Node) -> None:
    if not (isinstance(node, Scalar) and node.kind in ("int", "float") and node.value > 0):
        raise Unfit(f"expected a number of seconds, not {seen(node)}")


def _protocol(node: Node) -> None:
    choice("UDP", "TCP")(node, _context())


_BATCH: dict[str, tuple[Check, bool]] = {
    "url": (_text, True),
    "api_version": (_text, True),
    "user": (_text, False),
    "user_token": (_secret, False),
}
# What zocalo and workflows ask for: the check of a key, and whether it must be there.
_KEYS: dict[str, dict[str, tuple[Check, bool]]] = {
    "pika": {
        "host": (_hosts, True),
        "port": (_ports, True),
        "username": (_text, True),
        "password": (_secret, True),
        "vhost": (_text, True),
    },
    "stomp": {
        "host": (_hosts, True),
        "port": (_ports, True),
        "username": (_text, True),
        "password": (_secret, True),
        "prefix": (_text, True),
    },
    "transport": {"default": (_text, True)},
    "graylog": {"protocol": (_protocol, True), "host": (_text, True), "port": (_port, True)},
    "smtp": {"host": (_text, True), "port": (_port, True), "from": (_mail, False)},
    "jmx": {
        "host": (_text, True),
        "port": (_port, True),
        "base_url": (_text, True),
        "username": (_text, True),
        "password": (_secret, True),
    },
    "rabbitmqapi": {
        "base_url": (_text, True),
        "username": (_text, True),
        "password": (_secret, True),
        "vhost": (_text, False),
    },
    "slurm": _BATCH,
    "iris": _BATCH,
    "opentelemetry": {
        "host": (_text, True),
        "port": (_port, True),
        "endpoint": (_url, False),
        "timeout": (_seconds, False),
    },
}


def _fit(key: str, table: Table, report: Report) -> None:
    host, port = (getattr(table.entries.get(name), "node", None) for name in ("host", "port"))
    if isinstance(host, Scalar) and isinstance(port, Scalar):
        hosts, ports = words(host.text), words(port.text)
        if len(ports) not in (1, len(hosts)):
            problem = f"{len(hosts)} hosts and {len(ports)} ports; give one for each"
            report.add(port.where, problem, f"{key}.port")


def _logging(key: str, table: Table, report: Report) -> None:
    """Check what the daemon itself reads of a logging configuration; the rest is dictConfig's."""
    _levels(key, table, report)
    entry = table.entries.get("verbose")
    if entry is None:
        return
    if not isinstance(entry.node, Items):
        expected = f"expected a list of logging configurations, not {seen(entry.node)}"
        report.add(entry.node.where, expected, f"{key}.verbose")
        return
    for number, step in enumerate(entry.node.items):
        name = f"{key}.verbose[{number}]"
        if isinstance(step, Table):
            _levels(name, step, report)
        else:
            report.add(step.where, f"expected a map, not {seen(step)}", name)


def _levels(key: str, table: Table, report: Report) -> None:
    for name, entry in _declared(key, table, report):
        if not isinstance(entry.node, Table):
            report.add(entry.node.where, f"expected a map, not {seen(entry.node)}", name)
            continue
        level = entry.node.entries.get("level")
        if level is None or (isinstance(level.node, Scalar) and level.node.kind == "int"):
            continue
        known = isinstance(level.node, Scalar) and isinstance(logging.getLevelName(level.node.text), int)
        if not known:
            report.add(level.node.where, f"there is no level {seen(level.node)}", f"{name}.level")


def _declared(key: str, table: Table, report: Report) -> Iterator[tuple[str, Entry]]:
    """Yield what a logging configuration declares, by dotted keys; some of it may set a level."""
    for name in ("root", "handlers", "filters", "formatters", "loggers"):
        entry = table.entries.get(name)
        if entry is None or getattr(entry.node, "kind", "") == "null":
            continue
        if name == "root":
            yield f"{key}.root", entry
        elif isinstance(entry.node, Table):
            yield from ((f"{key}.{name}.{shown(word)}", inner) for word, inner in entry.node.entries.items())
        else:
            report.add(entry.node.where, f"expected a map, not {seen(entry.node)}", f"{key}.{name}")
