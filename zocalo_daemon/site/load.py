"""Reads a Zocalo v1 site configuration into plain data, or says everything that is wrong.

Runs in the supervisor, so that workers, in whatever interpreter, need neither the files nor PyYAML.

    version: 1
    include: [common.yaml]              # files whose entries count unless this file has them too
    environments:
      live: {plugins: [storage], 10-log: graylog}   # groups in the order of their names, `plugins` last
      test: [storage]                   # the same as {plugins: [storage]}
      default: live                     # alias
    storage: {plugin: storage, zocalo.recipe_directory: /recipes}
    graylog: secret/graylog.yaml        # the same in a file of its own
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.config.nodes import MAX_BYTES, Entry, Items, Node, Scalar, Table, parse
from zocalo_daemon.config.problems import Report, Where
from zocalo_daemon.config.walk import seen, shown
from zocalo_daemon.site import checks, environments
from zocalo_daemon.site.environments import RESERVED


def load(path: Path, environment: str | None) -> dict[str, Any]:
    """Return the plain data of a site configuration.

    Plugin configurations that stand in files of their own are read if the chosen environment uses them, and
    stay paths otherwise: a file that only another environment uses need not exist here.

    Args:
        path: the main file.
        environment: the one to be active; None for `default`, if there is one.

    Returns:
        environments: lists of entries in the order of activation, by name.
        configurations: a map, or the path of a file, by entry.
        active: names of the environments to be activated.
        files: paths of all files that were read.
        places: where each entry stands, for errors that only a worker's interpreter can find.

    Raises:
        ConfigError: every problem of every file, with file, line, key and suggestion.
    """
    report = Report()
    files = _Files(report)
    top = files.merged(path.absolute(), ())
    report.check(files.read)
    assert top is not None
    entries = {name: entry for name, entry in top.entries.items() if name not in RESERVED}
    members = environments.members(top.entries.get("environments"), list(entries), report)
    active = environments.active(environment, members, path, report)
    needed = {entry for name in active for entry in members.get(name, ())}
    configurations = {
        name: _configuration(name, entry.node, name in needed, files) for name, entry in entries.items()
    }
    report.check(files.read)
    return {
        "environments": members,
        "configurations": configurations,
        "active": active,
        "files": [str(file) for file in files.read],
        "places": {name: str(_place(entry)) for name, entry in entries.items()},
    }


def differs(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Return whether two site configurations mean something different, wherever it stands."""
    return _meaning(one) != _meaning(other)


def _meaning(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {key: value for key, value in data.items() if key not in ("files", "places")} if data else None


class _Files:
    """The files of one configuration, each read once, its includes merged below it."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.read: list[Path] = []
        self._merged: dict[Path, Table | None] = {}

    def table(self, file: Path) -> Table | None:
        """Return the map in a file, or None after reporting why there is none."""
        self.read.append(file)
        try:
            if not file.is_file() and file.exists():
                self.report.add(Where(file, 0), "cannot be read: it is no file, but a directory or a device")
                return None
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as e:
            self.report.add(Where(file, 0), f"cannot be read: {(e.strerror or 'error').lower()}")
            return None
        table = parse(data, file, self.report)
        for key, _ in table.repeated if table else ():
            assert table is not None
            first = table.entries[key.text].key.where.line
            self.report.add(key.where, f"the key is there already, in line {first}", shown(key.text))
        return table

    def merged(self, file: Path, above: tuple[Path, ...]) -> Table | None:
        """Return a file with its includes; `above` are the files that led to it."""
        real = file.resolve()
        if real not in self._merged:
            table = self.table(file)
            if table is not None:
                _check_version(table, self.report)
                table = self._with_includes(table, (*above, real))
            self._merged[real] = table
        return self._merged[real]

    def _with_includes(self, table: Table, above: tuple[Path, ...]) -> Table:
        below = Table(table.where)
        for place, file in self._includes(table):
            if file.resolve() in above:
                self.report.add(place, f"{file} includes this file, which would never end", "include")
                continue
            included = self.merged(file, above)
            if included is not None:
                below = lay_over(below, included)
        return lay_over(below, table)

    def _includes(self, table: Table) -> list[tuple[Where, Path]]:
        entry = table.entries.get("include")
        if entry is None:
            return []
        items = entry.node.items if isinstance(entry.node, Items) else [entry.node]
        found = []
        for item in items:
            file = file_of(item)
            if file is None:
                self.report.add(item.where, f"expected a list of files, not {seen(item)}", "include")
            else:
                found.append((item.where, file))
        return found


def lay_over(base: Table, over: Table) -> Table:
    """Return `base` with the entries of `over` in their place; environments count one by one.

    An entry replaces the other as a whole: half of a broker's account from one file and half from another
    helps nobody.
    """
    entries = {**base.entries, **over.entries}
    lower, upper = base.entries.get("environments"), over.entries.get("environments")
    if lower and upper and isinstance(lower.node, Table) and isinstance(upper.node, Table):
        both = Table(upper.node.where, {**lower.node.entries, **upper.node.entries}, upper.node.repeated)
        entries["environments"] = Entry(upper.key, both)
    return Table(over.where, entries)


def file_of(node: Node) -> Path | None:
    """Return the path that a node names, seen from its own file, or None if it names none."""
    if not isinstance(node, Scalar) or node.kind != "text" or not node.text or "\0" in node.text:
        return None
    try:
        given = Path(node.text).expanduser()
    except RuntimeError:  # no such user
        return None
    return (node.where.file.parent if node.where.file else Path()) / given


def _check_version(table: Table, report: Report) -> None:
    entry = table.entries.get("version")
    if entry is None:
        report.add(table.where, "'version' is missing; write 'version: 1' at the top")
    elif not isinstance(entry.node, Scalar) or entry.node.value != 1 or entry.node.kind != "int":
        report.add(entry.key.where, f"only version 1 is understood, not {seen(entry.node)}", "version")


def _configuration(name: str, node: Node, needed: bool, files: _Files) -> dict[str, Any] | str:
    """Return a plugin configuration, or the path of its file if it is not needed now."""
    key = shown(name)
    if isinstance(node, Table):
        return _plugin(key, node, files.report)
    file = file_of(node)
    if file is None:
        files.report.add(
            node.where, f"expected a map with the key 'plugin', or a file, not {seen(node)}", key
        )
        return {}
    if not needed:
        return str(file.resolve())
    table = files.table(file)
    return {} if table is None else _plugin(key, table, files.report)


def _place(entry: Entry) -> Where:
    file = file_of(entry.node)
    return Where(file.resolve(), 0) if file else entry.key.where


def _plugin(key: str, table: Table, report: Report) -> dict[str, Any]:
    entry = table.entries.get("plugin")
    if entry is None:
        report.add(table.where, "'plugin' is missing; write for example 'plugin: storage'", key)
    elif not isinstance(entry.node, Scalar) or entry.node.kind != "text":
        report.add(entry.key.where, f"expected the name of a plugin, not {seen(entry.node)}", f"{key}.plugin")
    checks.check(key, table, report)
    data: dict[str, Any] = _plain(table, key, report)
    return data


def _plain(node: Node, key: str, report: Report) -> Any:
    """Return the value of a node, as PyYAML would construct it but for dates, which stay text."""
    if isinstance(node, Table):
        for again, _ in node.repeated:
            report.add(again.where, "the key is there already", f"{key}.{shown(again.text)}")
        return {
            entry.key.value: _plain(entry.node, f"{key}.{shown(name)}", report)
            for name, entry in node.entries.items()
        }
    if isinstance(node, Items):
        return [_plain(item, key, report) for item in node.items]
    if node.kind == "int" and not -(2**63) <= node.value < 2**64:
        report.add(node.where, "the number has more than 64 bits", key)
        return 0
    return node.value
