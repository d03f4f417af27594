"""Recipes for the Dispatcher: from a message or from the recipe directory, checked and in one form."""

from __future__ import annotations

import errno
import json
from pathlib import Path, PurePosixPath
from typing import Any

import workflows
from workflows.recipe import Recipe

from zocalo_daemon.protocol.recipe import Graph, dotted, graph_of, problems, visits
from zocalo_daemon.services.envelope import NotNow, Rejected, kind

MAX_VISITS = 50_000  # workflows walks all paths through a recipe, this many nodes in about 0.1 s
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_SHOWN = 5  # problems in a log line


def custom_recipe(data: Any) -> Recipe:
    """Return the recipe that a message brings along.

    Raises:
        Rejected: it is no valid recipe.
    """
    return _checked(data, "the custom recipe")


def named_recipe(directory: str | Path, name: Any) -> Recipe:
    """Return recipe `name` of the recipe directory.

    Raises:
        Rejected: there is no such recipe, or it is not valid.
        NotNow: the directory, or a file that is there, cannot be read at the moment.
    """
    path = recipe_path(directory, name)
    try:
        data = json.loads(path.read_bytes())
    except OSError as e:
        if not Path(directory).is_dir():  # a file system that is not mounted, or hangs
            raise NotNow(f"the recipe directory {directory} cannot be read") from None
        if e.errno in _NO_FILE:
            raise Rejected(f"there is no recipe {name} in {directory}") from None
        raise NotNow(f"the recipe {path} cannot be read: {e.strerror}") from None
    except (ValueError, RecursionError) as e:
        raise Rejected(f"recipe {name} is not valid JSON: {e}") from None
    return _checked(data, f"recipe {name}")


def recipe_path(directory: str | Path, name: Any) -> Path:
    """Return the file of recipe `name`; subdirectories are allowed, leaving the directory is not.

    Symbolic links are followed: who may place one there may as well place a recipe.

    Raises:
        Rejected: `name` is no name.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise Rejected(f"a recipe is called by its name, not by {kind(name)}")
    parts = PurePosixPath(name + ".json")
    if parts.is_absolute() or ".." in parts.parts:
        raise Rejected(f"recipe name {name} leads out of the recipe directory")
    return Path(directory) / parts


def merged(recipe: Recipe, other: Recipe) -> Recipe:
    """Return both recipes as one."""
    try:
        return recipe.merge(other)
    except (workflows.Error, LookupError, TypeError, ValueError, AttributeError) as e:
        raise Rejected(f"the recipes cannot be joined: {e}") from None


def check_startable(recipe: Any) -> None:
    """Check what is about to be started.

    Raises:
        Rejected: nothing would be sent, or a part of it would vanish without a trace.
    """
    if not isinstance(recipe, Recipe) or not recipe.recipe:
        raise Rejected("the message names no recipe and brings none")
    nodes = _graph(recipe.recipe, "the recipe").nodes
    for number, node in nodes.items():
        for target in ("queue", "topic"):
            if not isinstance(node.get(target), str | None):
                raise Rejected(f"{target} of node {number} must be a text, not {kind(node[target])}")
        if not (node.get("queue") or node.get("topic")):
            raise Rejected(
                f"node {number} of the recipe has neither queue nor topic: what is sent to it vanishes"
            )


def _checked(data: Any, what: str) -> Recipe:
    graph = _graph(data, what)
    if visits(graph) > MAX_VISITS:
        raise Rejected(f"{what} has too many ways through it to be checked")
    try:
        recipe = Recipe(renumbered(data))
    except Exception as e:  # any kind: it is whatever the recipe makes workflows stumble over
        raise Rejected(f"{what} is not valid: {type(e).__name__}: {e}") from None
    _validate(recipe, what)
    return recipe


def _graph(data: Any, what: str) -> Graph:
    """Return the graph of a recipe; the check is linear, and tells more than the first problem."""
    fatal = [problem for problem in problems(data) if problem.fatal]
    if fatal:
        lines = [f"{dotted(problem.path)}: {problem.text}".removeprefix(": ") for problem in fatal[:_SHOWN]]
        more = [f"and {len(fatal) - _SHOWN} more problems"] * (len(fatal) > _SHOWN)
        raise Rejected(f"{what} is not valid: {'; '.join(lines + more)}")
    return graph_of(data)


def _validate(recipe: Recipe, what: str) -> None:
    """Let workflows have the last word: the services downstream ask it too."""
    try:
        recipe.validate()
    except Exception as e:  # workflows.Error for what it foresees, RecursionError for a very long recipe
        raise Rejected(f"{what} is not valid: {str(e) or type(e).__name__}") from None


def renumbered(data: dict[Any, Any]) -> dict[Any, Any]:
    """Return a recipe whose keys are numbers, none of them 0.

    workflows 3.3 takes a node "0" for a name and refuses it, here and in every service downstream; newer
    versions leave it out of the recipe-path. A free number instead works with all of them.
    """
    recipe = {_number(key): value for key, value in data.items()}
    if 0 not in recipe:
        return recipe
    free = max((key for key in recipe if isinstance(key, int)), default=0) + 1

    def link(value: Any) -> Any:
        if isinstance(value, list):
            return [link(item) for item in value]
        if isinstance(value, dict):
            return {key: link(item) for key, item in value.items()}
        return free if value == 0 and type(value) is int else value

    return {(free if key == 0 else key): _relinked(key, value, link) for key, value in recipe.items()}


def _number(key: Any) -> Any:
    return int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else key


def _relinked(key: Any, value: Any, link: Any) -> Any:
    if key == "start" and isinstance(value, list):
        return [[link(pair[0]), *pair[1:]] if isinstance(pair, list) and pair else pair for pair in value]
    if key == "error":
        return link(value)
    if isinstance(value, dict):
        return {k: link(v) if k in ("output", "error") else v for k, v in value.items()}
    return value
