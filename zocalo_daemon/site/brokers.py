"""Checks what a site configuration says about brokers: its plugins `pika` and `stomp`, place by place."""

from __future__ import annotations

import re
from pathlib import Path

from zocalo_daemon.config.nodes import Node, Scalar, Table
from zocalo_daemon.config.problems import Report
from zocalo_daemon.config.values import text
from zocalo_daemon.config.walk import Context, Unfit, seen, shown

# What zocalo and workflows ask for, beside host and port.
_TEXTS = {"pika": ("username", "password", "vhost"), "stomp": ("username", "password", "prefix")}
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\]", re.ASCII)


def check(key: str, table: Table, report: Report) -> None:
    """Report what is wrong with the plugin configuration `key`, if it is one of a broker."""
    entry = table.entries.get("plugin")
    plugin = entry.node.text if entry is not None and isinstance(entry.node, Scalar) else ""
    if plugin not in _TEXTS:
        return
    for name in ("host", "port", *_TEXTS[plugin]):
        if name not in table.entries:
            report.add(table.where, f"'{name}' is missing", key)
            continue
        node = table.entries[name].node
        try:
            _CHECKS.get(name, _text)(node)
        except Unfit as problem:
            report.add(node.where, str(problem), f"{key}.{name}")
    _fit(key, table, report)


def words(value: object) -> list[str]:
    """Return the words of a comma list."""
    return [word.strip() for word in str(value).split(",")]


def _text(node: Node) -> None:
    text(node, Context(Report(), Path()))


def _secret(node: Node) -> None:
    text(node, Context(Report(), Path()), "expected the password as text", secret=True)


def _hosts(node: Node) -> None:
    _text(node)
    for word in words(node.text if isinstance(node, Scalar) else ""):
        if not _HOST.fullmatch(word):
            raise Unfit(f"expected a host, or several with commas between, not '{shown(word)}'")


def _ports(node: Node) -> None:
    given = words(node.text) if isinstance(node, Scalar) and node.kind in ("int", "text") else [""]
    if not all(word.isdecimal() and 1 <= int(word) <= 65535 for word in given):
        raise Unfit(f"expected a port, or several with commas between, not {seen(node)}")


_CHECKS = {"host": _hosts, "port": _ports, "password": _secret}


def _fit(key: str, table: Table, report: Report) -> None:
    host, port = (getattr(table.entries.get(name), "node", None) for name in ("host", "port"))
    if isinstance(host, Scalar) and isinstance(port, Scalar):
        hosts, ports = words(host.text), words(port.text)
        if len(ports) not in (1, len(hosts)):
            problem = f"{len(hosts)} hosts and {len(ports)} ports; give one for each"
            report.add(port.where, problem, f"{key}.port")
