"""Checks `after` of services: whom it names is there, and nobody comes after himself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .nodes import Items, Node, Scalar, Table
from .problems import one_of
from .walk import Given, shown

_LONGEST = 10  # services of a cycle in a message


def check(given: Given) -> None:
    """Report what `after` names that is no service, and every cycle, at a service that is part of it."""
    services = given.table.entries.get("services")
    if services is None or not isinstance(services.node, Table):
        return
    entries, inside = services.node.entries, given.context.inside("services")
    follows: dict[str, list[str]] = {}
    for name, entry in entries.items():
        follows[name] = []
        for number, item in _after(entry.node):
            if item.text in entries:
                follows[name].append(item.text)
                continue
            text = f"there is no service '{shown(item.text)}'; {one_of(item.text, entries)}"
            inside.inside(shown(name)).inside("after").item(number).add(item.where, text)
    for cycle in cycles(follows):
        if given.context.report.full:
            return
        node = entries[cycle[0]].node
        assert isinstance(node, Table), "a service that comes after others is a map"
        part = Given({}, node, inside.inside(shown(cycle[0])))
        part.add("after", f"a cycle: {' -> '.join(_short(cycle))}")


def cycles(follows: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Yield cycles, each from a name to the same name again; none if there is none, not all if they overlap.

    Args:
        follows: for each name those that it comes after, all of which are keys themselves.
    """
    done: set[str] = set()
    for start in follows:
        # Depth first, without recursion: a file may name thousands, one after the other.
        path = {} if start in done else {start: iter(follows[start])}
        while path:
            here = next(reversed(path))
            following = next(path[here], None)
            if following is None:
                done.add(here)
                del path[here]
            elif following in path:
                names = list(path)
                yield [*names[names.index(following) :], following]
            elif following not in done:
                path[following] = iter(follows[following])


def _after(node: Node) -> list[tuple[int, Scalar]]:
    """Return the names that stand under `after` of a service, with their numbers; others are reported."""
    entry = node.entries.get("after") if isinstance(node, Table) else None
    if entry is None or not isinstance(entry.node, Items):
        return []
    return [
        (number, item)
        for number, item in enumerate(entry.node.items)
        if isinstance(item, Scalar) and item.kind == "text"
    ]


def _short(cycle: list[str]) -> list[str]:
    names = [shown(name) for name in cycle]
    return names if len(names) <= _LONGEST else [*names[: _LONGEST - 2], "…", names[-1]]
