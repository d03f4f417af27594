"""The recipe wrapper file: the message for a step, written by the service that has started the job."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from workflows.recipe.wrapper import RecipeWrapper

from zocalo_daemon.worker.lookup import describe
from zocalo_daemon.wrapper.outcome import Unusable


def read(file: Path) -> Callable[..., Any]:
    """Return what makes the RecipeWrapper of a file; it takes `transport`, which workflows 3.7 wants at once.

    Raises:
        Unusable: it cannot be read, or there is no step of a recipe in it.
    """
    try:
        message = json.loads(file.read_bytes())
    except OSError as e:
        raise Unusable(f"cannot read the recipe wrapper file {file}: {e.strerror}") from None
    except (ValueError, RecursionError) as e:
        raise Unusable(f"the recipe wrapper file {file} is no JSON: {e}") from None
    if not isinstance(message, dict):
        raise Unusable(f"the recipe wrapper file {file} has no object in it, but {type(message).__name__}")
    missing = [key for key in ("recipe", "recipe-pointer") if key not in message]
    if missing:
        raise Unusable(f"the recipe wrapper file {file} lacks {' and '.join(missing)}")
    try:
        made = RecipeWrapper(message=message)
    except Exception as e:  # a recipe of any other shape raises anything
        raise Unusable(f"the recipe wrapper file {file} cannot be used: {describe(e)}") from None
    if not isinstance(made.recipe_step, dict) or not isinstance(made.environment, dict):
        raise Unusable(f"the recipe wrapper file {file} points to no step of its recipe")
    return partial(RecipeWrapper, message=message)


def task_information(wrapper: Any) -> str:
    """Return what the step says about its task, or ""."""
    about = wrapper.recipe_step.get("wrapper")
    return str(about.get("task_information") or "") if isinstance(about, dict) else ""
