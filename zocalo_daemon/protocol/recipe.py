"""What a recipe may be: the rules of workflows.recipe.Recipe.validate(), all problems at once (pure).

    {"1": {"queue": "find.spots", "output": {"good": [2, 3], "bad": 4}, "parameters": {...}},
     "2": {"topic": "results"}, ...
     "start": [[1, payload]],      pairs of a node and what it gets
     "error": [4]}

Everything that workflows refuses is a problem here. Some problems it overlooks, because they only come out
when a message passes, or not everywhere; those are not `fatal`:
    a node 0 (workflows 3.3 takes it for a name), a number in another notation ("01", 1.0, true)
    a node without queue and topic: what is sent to it vanishes
    queue, topic or exchange that is no text; a transport-delay that is no number; parameters without names
    an output channel that leads nowhere (null), channels inside channels
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

SPECIAL = ("start", "error")

Path = tuple[Any, ...]  # keys and indices from the top


class Problem(NamedTuple):
    """One thing that is wrong, where it is, and whether workflows refuses the recipe for it."""

    path: Path
    text: str
    fatal: bool = True


class Link(NamedTuple):
    """An arrow from one node (None: the recipe itself) to another."""

    source: int | None
    target: int
    path: Path


class Graph(NamedTuple):
    """The nodes of a recipe by number, all of their links, and what is wrong with either."""

    nodes: dict[int, Mapping[str, Any]]
    links: list[Link]
    problems: list[Problem]


def problems(recipe: Any) -> list[Problem]:
    """Return everything that is wrong with a recipe as it comes out of JSON."""
    if not isinstance(recipe, Mapping):
        return [Problem((), "a recipe is an object with numbered nodes and 'start'")]
    if not recipe:
        return [Problem((), "the recipe is empty")]
    graph = graph_of(recipe)
    found = list(graph.problems)
    for link in graph.links:
        if link.target not in graph.nodes:
            found.append(Problem(link.path, f"there is no node {link.target}"))
    found += _cycles(graph)
    reached = _reached(graph)
    for key in recipe:
        number = _number(key)
        if number in graph.nodes and number not in reached:
            found.append(Problem((key,), "nothing leads to this node"))
    return found


def graph_of(recipe: Mapping[Any, Any]) -> Graph:
    """Return the nodes and links of a recipe; what cannot be understood is a problem and left out."""
    graph = Graph({}, [], [])
    for key, value in recipe.items():
        if key in SPECIAL:
            continue
        number = _number(key)
        if number is None:
            text = "a node is called by a number; besides there are only 'start' and 'error'"
            graph.problems.append(Problem((key,), text))
        elif not isinstance(value, Mapping):
            graph.problems.append(Problem((key,), "a node is an object, with a 'queue' for example"))
        else:
            graph.nodes[number] = value
            graph.problems.extend(_odd_key(key, number))
            _add_node(graph, key, number, value)
    _add_start(graph, recipe)
    if "error" in recipe:
        value = recipe["error"]
        many = isinstance(value, (list, tuple))
        for path, item in ((("error", i), v) for i, v in enumerate(value)) if many else [(("error",), value)]:
            _add_root(graph, path, item)
    return graph


def visits(graph: Graph) -> int:
    """Return how many nodes a walk along all paths from the start meets, which is what workflows does.

    The graph must have no cycle. A ladder of 40 nodes has a million million paths.
    """
    below: dict[int, int] = {}
    targets = _targets(graph)
    for number in reversed(in_order(graph)):
        below[number] = 1 + sum(below.get(target, 0) for target in targets.get(number, ()))
    return sum(below.get(target, 0) for target in targets.get(None, ()))


def in_order(graph: Graph) -> list[int]:
    """Return the nodes so that each stands behind all that lead to it; without those of a cycle."""
    targets = _targets(graph)
    waiting = dict.fromkeys(graph.nodes, 0)
    for link in graph.links:
        if link.source is not None and link.target in waiting:
            waiting[link.target] += 1
    order = [number for number, count in waiting.items() if not count]
    for number in order:  # grows while it is walked
        for target in targets.get(number, ()):
            if target in waiting:
                waiting[target] -= 1
                if not waiting[target]:
                    order.append(target)
    return order


def dotted(path: Path) -> str:
    """Return a path as people write it: 1.output.good[0]."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) and text else f".{step}" if text else str(step)
    return text


def _number(key: Any) -> int | None:
    if isinstance(key, str):
        try:
            return int(key)
        except ValueError:
            return None
    return key if isinstance(key, int) and not isinstance(key, bool) else None


def _odd_key(key: Any, number: int) -> Iterator[Problem]:
    if number <= 0:
        yield Problem((key,), "count nodes from 1: not every version of workflows takes this number", False)
    elif str(key) != str(number):
        yield Problem((key,), f"write this number as {number}", False)


def _add_node(graph: Graph, key: Any, number: int, node: Mapping[str, Any]) -> None:
    for name in ("queue", "topic", "exchange"):
        if not isinstance(node.get(name), (str, type(None))):
            graph.problems.append(Problem((key, name), "must be a text", False))
    if not isinstance(node.get("parameters", {}), Mapping):
        graph.problems.append(Problem((key, "parameters"), 'must be an object: {"name": value}', False))
    delay = node.get("transport-delay", 0)
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or delay < 0:
        graph.problems.append(Problem((key, "transport-delay"), "must be a number of seconds", False))
    if not node.get("queue") and not node.get("topic"):
        text = "the node has neither 'queue' nor 'topic': what is sent to it vanishes"
        graph.problems.append(Problem((key,), text, False))
    if "output" in node and node["output"] is None:
        graph.problems.append(Problem((key, "output"), "leads nowhere; leave it out"))
    for name in ("output", "error"):
        if node.get(name) is not None:
            _add_links(graph, number, (key, name), node[name])


def _add_links(graph: Graph, source: int, path: Path, value: Any) -> None:
    """Add the links in an output: a number, a list of numbers, or an object of channels with either."""
    todo = [(path, value)]  # channels may be nested deeper than Python can recurse
    while todo:
        path, value = todo.pop()
        if isinstance(value, Mapping):
            todo += [((*path, channel), item) for channel, item in reversed(list(value.items()))]
            if len(path) > 2:
                graph.problems.append(Problem(path, "a channel inside a channel", False))
        elif isinstance(value, list):
            for i, item in enumerate(value):
                _add_link(graph, source, (*path, i), item)
        elif value is None and len(path) > 2:
            graph.problems.append(Problem(path, "leads nowhere; leave the channel out", False))
        else:
            _add_link(graph, source, path, value)


def _add_link(graph: Graph, source: int, path: Path, value: Any) -> None:
    if not isinstance(value, int):
        graph.problems.append(Problem(path, "must be the number of a node, without quotes"))
        return
    if isinstance(value, bool):
        graph.problems.append(Problem(path, f"write this number as {int(value)}", False))
    graph.links.append(Link(source, int(value), path))


def _add_start(graph: Graph, recipe: Mapping[Any, Any]) -> None:
    if "start" not in recipe:
        graph.problems.append(Problem((), "'start' is missing: nothing would happen"))
        return
    start = recipe["start"]
    if not isinstance(start, (list, tuple)) or not start:
        graph.problems.append(Problem(("start",), "must be a list of pairs, for example [[1, []]]"))
        return
    for i, pair in enumerate(start):
        if isinstance(pair, (list, tuple)) and len(pair) == 2:
            _add_root(graph, ("start", i), pair[0])
        else:
            text = "must be a pair of a node and what is sent to it, for example [1, []]"
            graph.problems.append(Problem(("start", i), text))


def _add_root(graph: Graph, path: Path, target: Any) -> None:
    if target in SPECIAL:
        text = f"'{path[0]}' leads to {'itself' if target == path[0] else f'{target!r}'}, not to a node"
        graph.problems.append(Problem(path, text))
    elif not isinstance(target, (int, float)) or not float(target).is_integer():
        graph.problems.append(Problem(path, "must lead to a node, by its number without quotes"))
    else:
        if type(target) is not int:
            graph.problems.append(Problem(path, f"write this number as {int(target)}", False))
        graph.links.append(Link(None, int(target), path))


def _targets(graph: Graph) -> dict[int | None, list[int]]:
    targets: dict[int | None, list[int]] = {}
    for link in graph.links:
        targets.setdefault(link.source, []).append(link.target)
    return targets


def _reached(graph: Graph) -> set[int]:
    targets = _targets(graph)
    todo = list(targets.get(None, ()))
    reached: set[int] = set()
    while todo:
        number = todo.pop()
        if number not in reached:
            reached.add(number)
            todo += targets.get(number, ())
    return reached


def _cycles(graph: Graph) -> list[Problem]:
    """Return one problem for each link that closes a circle, by a depth-first walk without recursion."""
    links: dict[int | None, list[Link]] = {}
    for link in graph.links:
        links.setdefault(link.source, []).append(link)
    found: list[Problem] = []
    done: set[int] = set()
    for root in graph.nodes:
        trail: dict[int, Iterator[Link]] = {} if root in done else {root: iter(links.get(root, ()))}
        while trail:
            number = next(reversed(trail))
            step = next(trail[number], None)
            if step is None:
                del trail[number]
                done.add(number)
            elif step.target in trail:
                found.append(Problem(step.path, _circle(list(trail), step.target)))
            elif step.target in graph.nodes and step.target not in done:
                trail[step.target] = iter(links.get(step.target, ()))
    return found


def _circle(trail: list[int], target: int) -> str:
    nodes = [str(number) for number in [*trail[trail.index(target) :], target]]
    if len(nodes) > 12:
        nodes[6:-6] = ["..."]
    return "the recipe goes round in a circle: " + " -> ".join(nodes)
