"""A recipe drawn as a picture for browsers and documents: SVG 1.1, without Graphviz (pure)."""

from __future__ import annotations

import re
from typing import Any
from xml.sax.saxutils import escape

from zocalo_daemon.client.drawing import destination, details, label
from zocalo_daemon.client.layers import Layout, Vertex, arrange
from zocalo_daemon.client.table import clean, cut, width
from zocalo_daemon.protocol.recipe import Link, graph_of, in_order

_COLUMN = 7.4  # how wide a character of 12 px is, in most fonts of one width
_HIGH = 44  # of a box
_LAYER = 120  # from one box to the one below
_MARGIN = 16
_SHOWN = 40  # columns of a line in a box; all of it is in its tooltip
_LABEL = 24  # columns of what is written on an arrow

# What may not stand in XML 1.0, not even as a number (chapter 2.2), and `clean` takes for printable.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Twice what differs, for many programs that draw SVG know no var(). Without the query it is for light paper.
_STYLE = """\
<style>
  text { font: 12px monospace; fill: #222; text-anchor: middle } .name { font-weight: bold }
  .paper { fill: #fff } .box { fill: #eef3fa; stroke: #456 }
  .arrow { fill: none; stroke: #456 } .head { fill: #456 }
  .label { font-size: 11px; paint-order: stroke; stroke: #fff; stroke-width: 4px }
  .error .arrow { stroke: #b22; stroke-dasharray: 5 3 } .error .head, .error .label { fill: #b22 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #16191d } text { fill: #ddd } .box { fill: #232b36; stroke: #9ab } .arrow { stroke: #9ab }
    .head { fill: #9ab } .label { stroke: #16191d }
    .error .arrow { stroke: #f77 } .error .head, .error .label { fill: #f77 }
  }
</style>"""


def svg(recipe: dict[str, Any]) -> list[str]:
    """Return the lines of a picture of a valid recipe: boxes in layers, arrows with the names of outputs.

    Each box is `<g class="node">` and each arrow `<g class="link">` (`link error`, dashed, for what follows
    an error); `<title>`, the tooltip, has what is too long to be shown, and the parameters.
    """
    graph = graph_of(recipe)
    texts: dict[Vertex, list[str]] = {root: [root] for root in ("start", "error") if recipe.get(root)}
    for number in in_order(graph):
        service = graph.nodes[number].get("service")
        name = f"{number}  {service}" if isinstance(service, str) else str(number)
        texts[number] = [name, destination(graph.nodes[number])]
    edges = [(_source(link), link.target) for link in graph.links]
    labels = [cut(clean(label(recipe, link)), _LABEL) for link in graph.links]
    widths = {vertex: 20 + max(_wide(cut(clean(line), _SHOWN)) for line in texts[vertex]) for vertex in texts}
    layout = arrange(widths, edges, [_wide(text) for text in labels])
    across = max((layout.x[one] + layout.width[one] / 2 for one in layout.x), default=0) + 2 * _MARGIN
    down = len(layout.layers) * _LAYER - (_LAYER - _HIGH) + 2 * _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across:.0f}" height="{down}" '
        f'viewBox="{-_MARGIN} {-_MARGIN} {across:.0f} {down}">',
        _STYLE,
        f'<rect class="paper" x="{-_MARGIN}" y="{-_MARGIN}" width="100%" height="100%"/>',
    ]
    places = {vertex: i * _LAYER for i, layer in enumerate(layout.layers) for vertex in layer}
    leaving, arriving = _ports(layout, end=0), _ports(layout, end=-1)
    for i, link in enumerate(graph.links):
        points = [(leaving[i], places[_source(link)] + _HIGH)]
        for bend in layout.ways[i][1:-1]:
            points += [(layout.x[bend], places[bend]), (layout.x[bend], places[bend] + _HIGH)]
        points.append((arriving[i], places[link.target]))
        lines += _arrow(link, points, labels[i], label(recipe, link))
    for vertex, words in texts.items():
        more = details(graph.nodes[vertex]) if isinstance(vertex, int) else None
        lines += _box(layout.x[vertex], places[vertex], widths[vertex], words, more)
    return [*lines, "</svg>"]


def _source(link: Link) -> Vertex:
    return link.path[0] if link.source is None else link.source


def _wide(text: str) -> float:
    return width(text) * _COLUMN


def _xml(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", clean(text)))


def _ports(layout: Layout, *, end: int) -> list[float]:
    """Return where each link leaves its source (end 0) or arrives (-1): side by side, uncrossed."""
    groups: dict[Vertex, list[int]] = {}
    for i, way in enumerate(layout.ways):
        groups.setdefault(way[end], []).append(i)
    ports = [0.0] * len(layout.ways)
    for vertex, numbers in groups.items():
        numbers.sort(key=lambda i: layout.x[layout.ways[i][1 if end == 0 else -2]])
        for place, i in enumerate(numbers, 1):
            ports[i] = layout.x[vertex] + layout.width[vertex] * (place / (len(numbers) + 1) - 0.5)
    return ports


def _arrow(link: Link, points: list[tuple[float, int]], text: str, title: str) -> list[str]:
    """Draw a line through pairs of points, and what is written on its first part, nearer to its end."""
    (x, y), *rest = points
    path, bow = f"M{x:.1f} {y}", (_LAYER - _HIGH) / 2
    for i, (to_x, to_y) in enumerate(rest):
        curve = f"C{x:.1f} {y + bow:.0f} {to_x:.1f} {to_y - bow:.0f} "
        path += f"{'L' if i % 2 else curve}{to_x:.1f} {to_y}"
        x, y = to_x, to_y
    ((first, top), (second, _)), kind = points[:2], "link error" if "error" in link.path[:2] else "link"
    lines = [
        f'<g class="{kind}"><title>{_xml(f"{_source(link)} → {link.target}  {title}".rstrip())}</title>',
        f'  <path class="arrow" d="{path}"/>',
        f'  <path class="head" d="M{x:.1f} {y}l-4 -8h8z"/>',
    ]
    if text:
        middle, base = first + (second - first) * 0.65, top + (_LAYER - _HIGH) * 0.6
        lines.append(f'  <text class="label" x="{middle:.1f}" y="{base:.0f}">{_xml(text)}</text>')
    return [*lines, "</g>"]


def _box(x: float, y: int, wide: float, words: list[str], more: list[str] | None) -> list[str]:
    """Draw a node, or where the recipe begins (more: None), with a tooltip of all its words."""
    title = "\n".join(_xml(line) for line in (*words, *(more or ())))
    kind, radius = ("root", _HIGH // 2) if more is None else ("node", 4)
    lines = [
        f'<g class="{kind}"><title>{title}</title>',
        f'  <rect class="box" x="{x - wide / 2:.1f}" y="{y}" width="{wide:.1f}" height="{_HIGH}" '
        f'rx="{radius}"/>',
    ]
    for i, line in enumerate(words):
        base = y + (27 if more is None else 18 + 17 * i)
        text = _xml(cut(clean(line), _SHOWN))
        lines.append(f'  <text class="{"destination" if i else "name"}" x="{x:.1f}" y="{base}">{text}</text>')
    return [*lines, "</g>"]
