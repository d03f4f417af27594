"""The environments of a site configuration: lists of entries, groups of lists, aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.config.nodes import Entry, Items, Node, Scalar, Table
from zocalo_daemon.config.problems import Report, Where, one_of
from zocalo_daemon.config.walk import seen, shown

RESERVED = ("version", "environments", "include")


def chosen_environment(
    given: str | None, environ: Mapping[str, str], environments: Iterable[str]
) -> str | None:
    """Return the environment to be activated, or None.

    It is the one that was asked for, else $ZOCALO_DEFAULT_ENV, else `default` if there is one.
    """
    return given or environ.get("ZOCALO_DEFAULT_ENV") or ("default" if "default" in environments else None)


def members(entry: Entry | None, known: list[str], report: Report) -> dict[str, list[str]]:
    """Return the entries of each environment in the order of their activation, aliases resolved."""
    if entry is None or getattr(entry.node, "kind", "") == "null":
        return {}
    if not isinstance(entry.node, Table):
        report.add(entry.key.where, f"expected a map of environments, not {seen(entry.node)}", "environments")
        return {}
    table = entry.node
    for key, _ in table.repeated:
        report.add(key.where, "the environment is there already", f"environments.{shown(key.text)}")
    return {
        name: _of(target, known, report)
        for name in table.entries
        if (target := _target(name, table, report)) is not None
    }


def _target(name: str, table: Table, report: Report) -> tuple[str, Node] | None:
    """Return the environment that a name stands for in the end, with its node."""
    place, key = table.entries[name].key.where, f"environments.{shown(name)}"
    passed = [name]
    while isinstance(node := table.entries[passed[-1]].node, Scalar) and node.kind != "null":
        if node.text not in table.entries:
            if len(passed) == 1:  # further on, it is reported where it stands
                hint = one_of(node.text, [other for other in table.entries if other != name] or ["a list"])
                report.add(place, f"there is no environment {seen(node)}; {hint}", key)
            return None
        if node.text in passed:
            report.add(place, f"the alias leads in a circle: {' -> '.join([*passed, node.text])}", key)
            return None
        passed.append(node.text)
    return passed[-1], node


def _of(target: tuple[str, Node], known: list[str], report: Report) -> list[str]:
    name, node = target
    key = f"environments.{shown(name)}"
    if isinstance(node, Items):
        groups: dict[str, Node] = {"plugins": node}
    elif isinstance(node, Table):
        groups = {group: entry.node for group, entry in node.entries.items()}
    else:
        report.add(node.where, f"expected a list, a map of groups or an alias, not {seen(node)}", key)
        return []
    found: dict[str, None] = {}
    for group in sorted(groups, key=lambda group: (group == "plugins", group)):
        for item in _items(groups[group]):
            if _is_entry(item, known, key, report):
                found[item.text] = None
    return list(found)


def _items(node: Node) -> list[Any]:
    return list(node.items) if isinstance(node, Items) else [node]


def _is_entry(item: Node, known: list[str], key: str, report: Report) -> bool:
    if not isinstance(item, Scalar) or item.kind == "null":
        report.add(item.where, f"expected the name of a plugin configuration, not {seen(item)}", key)
    elif item.text in RESERVED:
        report.add(item.where, f"{item.text} is no plugin configuration", key)
    elif item.text not in known:
        hint = one_of(item.text, known) if known else "there are none"
        report.add(item.where, f"there is no plugin configuration {seen(item)}; {hint}", key)
    else:
        return True
    return False


def active(environment: str | None, environments: Mapping[str, Any], path: Path, report: Report) -> list[str]:
    """Return the names of the environments to be activated: none or one."""
    name = chosen_environment(environment, {}, environments)
    if name is None:
        return []
    if name not in environments:
        hint = one_of(name, environments) if environments else "there are none"
        report.add(Where(path, 0), f"there is no environment '{shown(name)}'; {hint}", "site_environment")
    return [name]
