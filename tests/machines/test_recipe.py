"""Our rules for recipes against those of workflows: what it refuses is a problem, hardly anything else."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from workflows.recipe import Recipe

from zocalo_daemon.client.drawing import draw
from zocalo_daemon.client.recipe import check_text
from zocalo_daemon.protocol.recipe import problems
from zocalo_daemon.services.recipes import renumbered

NUMBERS = st.integers(0, 4)
ODD = st.sampled_from([None, True, 1.0, 1.5, "1", "start", "error", "", [], {}, -1])
LINK = NUMBERS | ODD
LINKS = LINK | st.lists(LINK, max_size=3)
OUTPUT = LINKS | st.dictionaries(st.sampled_from("ab"), LINKS | st.just({"x": 1}), max_size=2)
NODE = st.fixed_dictionaries({"queue": st.just("q")}, optional={"output": OUTPUT, "error": OUTPUT}) | ODD
KEYS = st.integers(0, 4).map(str) | st.sampled_from(["01", "-1", "a", "1.0", " 2", ""])
START = st.lists(st.tuples(LINK, st.none()).map(list) | ODD | st.lists(NUMBERS, max_size=3), max_size=3) | ODD
RECIPES = st.builds(
    lambda nodes, ends: {**nodes, **ends},
    st.dictionaries(KEYS, NODE, max_size=4),
    st.fixed_dictionaries({}, optional={"start": START, "error": LINKS}),
)


def _orderly(steps: list[list[int]]) -> dict[str, Any]:
    """Return a valid recipe: node i leads to nodes i + step, all of them start."""
    count = len(steps)
    nodes = {
        str(i): {"queue": "q", "output": [i + s for s in some if i + s <= count]}
        for i, some in enumerate(steps, 1)
    }
    return {**nodes, "start": [[i, None] for i in range(1, count + 1)]}


ORDERLY = st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=6).map(_orderly)


def refused(recipe: dict[str, Any]) -> bool:
    try:
        Recipe(copy.deepcopy(recipe)).validate()
    except Exception:
        return True
    return False


@settings(max_examples=500, deadline=None)
@given(RECIPES | ORDERLY)
@example({"1": {"queue": "q", "output": None}, "start": [[1, None]]})
@example({"1": {"queue": "q", "error": None}, "start": [[1, None]]})
@example({"1": {"queue": "q"}, "start": [["error", None], [1, None]], "error": [1]})
def test_what_workflows_refuses_is_a_problem(recipe: dict[str, Any]) -> None:
    text = json.dumps(recipe)
    found = check_text(text, "r")
    if refused(recipe):
        assert found


@settings(max_examples=500, deadline=None)
@given(RECIPES | ORDERLY)
def test_fatal_is_what_workflows_refuses_but_for_what_only_fails_later(recipe: dict[str, Any]) -> None:
    fatal = [problem for problem in problems(recipe) if problem.fatal]
    plain = all(isinstance(node, dict) for key, node in recipe.items() if key not in ("start", "error"))
    to_error = isinstance(recipe.get("start"), list) and any(
        isinstance(pair, list) and pair[:1] == ["error"] for pair in recipe["start"]
    )
    if fatal and plain and not to_error:  # both break the service that meets them
        assert refused(recipe), fatal
    if not fatal:
        assert not refused(renumbered(recipe))
        draw(recipe)


@settings(max_examples=100, deadline=None)
@given(ORDERLY)
def test_orderly_recipes_are_good(recipe: dict[str, Any]) -> None:
    assert check_text(json.dumps(recipe), "r") == []
    assert not refused(recipe)
