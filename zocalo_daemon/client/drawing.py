"""A recipe drawn as a tree (pure)."""

from __future__ import annotations

import json
from typing import Any

from zocalo_daemon.client.table import clean
from zocalo_daemon.protocol.recipe import Graph, Link, graph_of, in_order

_SHOWN = 100  # characters of one parameter


def draw(recipe: dict[str, Any]) -> list[str]:
    """Return the lines of a drawing of a valid recipe.

    Nodes that several others lead to stand below the one at the end of the longest way from the start, so
    that what comes first stands first; the others point to them: → 4.
    """
    return [clean(line) for line in _Tree(recipe, graph_of(recipe)).lines()]


def outline(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the same for programs: start, error, and the nodes so that each stands behind its sources."""
    graph = graph_of(recipe)
    return {
        "start": recipe["start"],
        "error": recipe.get("error", []),
        "nodes": [{"node": number, **graph.nodes[number]} for number in in_order(graph)],
    }


def dot(recipe: dict[str, Any]) -> list[str]:
    """Return the lines of the same in the language of Graphviz (dot(1)): `| dot -Tsvg` makes a picture."""
    graph = graph_of(recipe)
    lines = ["digraph recipe {", "  node [shape=box];"]
    roots = [root for root in ("start", "error") if recipe.get(root)]
    lines += [f"  {root} [shape=ellipse];" for root in roots]
    for number in in_order(graph):
        lines.append(f"  {number} [label={_quoted(f'{number}  {destination(graph.nodes[number])}')}];")
    for link in graph.links:
        channel = ".".join(str(step) for step in link.path[2:] if isinstance(step, str))
        label = f" [label={_quoted(channel)}]" if channel and link.source is not None else ""
        dashed = " [style=dashed]" if link.source is not None and link.path[1] == "error" else ""
        lines.append(
            f"  {link.path[0] if link.source is None else link.source} -> {link.target}{label}{dashed};"
        )
    return [*map(clean, lines), "}"]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Tree:
    """Draws the tree of one recipe."""

    def __init__(self, recipe: dict[str, Any], graph: Graph) -> None:
        self._recipe = recipe
        self._graph = graph
        self._links: dict[int | None, list[Link]] = {}
        for link in graph.links:
            self._links.setdefault(link.source, []).append(link)
        self._home = self._homes()

    def _homes(self) -> dict[int, Link]:
        """Return for each node the link below which it is drawn."""
        depth: dict[int | None, int] = {None: 0}
        homes: dict[int, Link] = {}
        for source in (None, *in_order(self._graph)):
            for link in self._links.get(source, ()):
                # Of links from equally far, the last counts: what leads to the node is drawn by then.
                if depth[source] >= depth.get(link.target, 0) + (source is None) - 1:
                    depth[link.target] = depth[source] + 1
                    homes[link.target] = link
        return homes

    def lines(self) -> list[str]:
        """Return the lines of the drawing."""
        lines: list[str] = []
        for root in ("start", "error"):
            links = [link for link in self._links.get(None, ()) if link.path[0] == root]
            if links:
                lines.append(root)
                self._draw(links, lines)
        return lines

    def _draw(self, roots: list[Link], lines: list[str]) -> None:
        """Draw trees with a stack of (link, indentation, is the last of its siblings)."""
        stack = [(link, "", link is roots[-1]) for link in reversed(roots)]
        while stack:
            link, indent, is_last = stack.pop()
            words = label(self._recipe, link)
            branch = indent + ("└─ " if is_last else "├─ ") + (f"{words}: " if words else "")
            if self._home.get(link.target) is not link:
                lines.append(f"{branch}→ {link.target}")
                continue
            below = indent + ("   " if is_last else "│  ")
            links = self._links.get(link.target, [])
            node = self._graph.nodes[link.target]
            lines.append(f"{branch}{link.target}  {destination(node)}")
            lines += [f"{below}{'│' if links else ' '}    {text}" for text in details(node)]
            stack += [(child, below, child is links[-1]) for child in reversed(links)]


def label(recipe: dict[str, Any], link: Link) -> str:
    """Return what is to be said of a link: its output channel, its payload, or that it is for errors."""
    if link.source is None:
        payload = recipe["start"][link.path[1]][1] if link.path[0] == "start" else None
        return f"with {_short(payload)}" if payload not in (None, [], {}, "") else ""
    channel = ".".join(step for step in link.path[2:] if isinstance(step, str))
    error = "on error" if link.path[1] == "error" else ""
    return " ".join(word for word in (error, channel) if word)


def destination(node: Any) -> str:
    """Return where the messages of a node go."""
    parts = [f"{name} {node[name]}" for name in ("queue", "topic") if node.get(name)]
    text = ", ".join(parts) or "nowhere"
    if node.get("exchange"):
        text += f" on exchange {node['exchange']}"
    if node.get("transport-delay"):
        text += f" after {node['transport-delay']} s"
    return text


def details(node: Any) -> list[str]:
    """Return a line for each parameter of a node."""
    parameters = node.get("parameters")
    if not isinstance(parameters, dict):
        return [f"parameters = {_short(parameters)}"] if parameters else []
    size = min(max((len(name) for name in parameters), default=0), 24)
    return [f"{name:<{size}} = {_short(value)}" for name, value in parameters.items()]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
