"""Where the vertices of a directed graph without circles stand when it is drawn in layers (pure).

After Sugiyama, Tagawa and Toda (1981): each vertex stands below all that lead to it, as far as the longest
way asks for; an edge over several layers has a bend in each of those between, so that it passes beside what
stands there; and a layer is ordered, then moved, by the mean of its neighbours, which leaves few crossings.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

_SWEEPS = 4  # down and up again; more hardly change anything
_GAP = 26.0  # between two of a layer
_BEND = 6.0  # how wide a bend is at least

Vertex = Hashable
_Neighbours = Mapping[Vertex, Sequence[Vertex]]


class Layout(NamedTuple):
    """The layers from the top, where the middle of each vertex is (the leftmost side is at 0), and all ways.

    A way is what one edge passes: its source, its bends, its target.
    """

    layers: list[list[Vertex]]
    x: dict[Vertex, float]
    width: dict[Vertex, float]
    ways: list[list[Vertex]]


def arrange(
    vertices: Mapping[Vertex, float], edges: Sequence[tuple[Vertex, Vertex]], labels: Sequence[float]
) -> Layout:
    """Return where everything stands.

    Args:
        vertices: how wide each is; in an order in which it stands behind all that lead to it.
        labels: how wide what is written on each edge is: its first bend has room for that.
    """
    depth = dict.fromkeys(vertices, 0)
    below: dict[Vertex, list[Vertex]] = {}
    for source, target in edges:
        below.setdefault(source, []).append(target)
    for vertex in vertices:
        for target in below.get(vertex, ()):
            depth[target] = max(depth[target], depth[vertex] + 1)
    width = dict(vertices)
    layers: list[list[Vertex]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for vertex in vertices:
        layers[depth[vertex]].append(vertex)
    ways: list[list[Vertex]] = []
    for number, (source, target) in enumerate(edges):
        bends = [("bend", number, layer) for layer in range(depth[source] + 1, depth[target])]
        for bend in bends:
            layers[bend[2]].append(bend)
            width[bend] = max(_BEND, labels[number] if bend is bends[0] else 0)
        ways.append([source, *bends, target])
    above, under = _neighbours(ways)
    _order(layers, above, under)
    return Layout(layers, _places(layers, width, above, under), width, ways)


def _neighbours(ways: Iterable[Sequence[Vertex]]) -> tuple[_Neighbours, _Neighbours]:
    above: dict[Vertex, list[Vertex]] = {}
    under: dict[Vertex, list[Vertex]] = {}
    for way in ways:
        for upper, lower in pairwise(way):
            above.setdefault(lower, []).append(upper)
            under.setdefault(upper, []).append(lower)
    return above, under


def _order(layers: list[list[Vertex]], above: _Neighbours, under: _Neighbours) -> None:
    place = {vertex: float(i) for layer in layers for i, vertex in enumerate(layer)}
    for neighbours, sequence in ((above, layers), (under, layers[::-1])) * _SWEEPS:
        for layer in sequence:
            layer.sort(key=lambda vertex: _mean(neighbours.get(vertex, ()), place, place[vertex]))
            place.update((vertex, float(i)) for i, vertex in enumerate(layer))


def _places(
    layers: list[list[Vertex]], width: Mapping[Vertex, float], above: _Neighbours, under: _Neighbours
) -> dict[Vertex, float]:
    x = {vertex: 0.0 for layer in layers for vertex in layer}
    for neighbours, sequence in ((above, layers), (under, layers[::-1]), (above, layers)):
        for layer in sequence:
            wanted = [_mean(neighbours.get(vertex, ()), x, x[vertex]) for vertex in layer]
            edge, places = float("-inf"), []
            for vertex, want in zip(layer, wanted, strict=True):
                places.append(max(want, edge + width[vertex] / 2))
                edge = places[-1] + width[vertex] / 2 + _GAP
            shift = (sum(wanted) - sum(places)) / len(layer)
            x.update((vertex, place + shift) for vertex, place in zip(layer, places, strict=True))
    left = min((x[vertex] - width[vertex] / 2 for vertex in x), default=0.0)
    return {vertex: place - left for vertex, place in x.items()}


def _mean(neighbours: Sequence[Vertex], values: Mapping[Vertex, float], without: float) -> float:
    return sum(values[one] for one in neighbours) / len(neighbours) if neighbours else without
