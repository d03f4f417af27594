"""What the Dispatcher decides about a request: functions that send nothing and touch no transport."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflows.recipe import Recipe

from zocalo_daemon.services import recipes
from zocalo_daemon.services.envelope import NotNow, Rejected, kind

QUEUE = "processing_recipe"
RETRY_DELAY = 2  # seconds until a request that is not ready is looked at again
TIMEOUT = 120.0  # seconds that a request may be not ready, unless it says otherwise

Filter = Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]


@dataclass(frozen=True)
class Request:
    """A message that asks for processing; its parameters hold the recipe ID as `guid`."""

    message: dict[str, Any]
    parameters: dict[str, Any]
    recipe_id: str


@dataclass(frozen=True)
class PassOn:
    """Send the request to a queue, unparsed; `delay` in seconds."""

    queue: str
    message: dict[str, Any]
    delay: int
    why: str


def read_request(message: Any, new_id: Callable[[], str]) -> Request:
    """Return the request in a message; `new_id` names it if it has no `guid`.

    Raises:
        Rejected: it is no request.
    """
    if not isinstance(message, dict):
        raise Rejected(f"a request must be a JSON object, this is {kind(message)}")
    parameters = message.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Rejected(f"the parameters of a request must be an object, not {kind(parameters)}")
    guid = parameters.get("guid") or new_id()
    if not isinstance(guid, (str, int)) or isinstance(guid, bool):
        raise Rejected(f"the guid of a request must be a text, not {kind(guid)}")
    parameters = {**parameters, "guid": str(guid)}
    return Request({**message, "parameters": parameters}, parameters, str(guid))


def settle_readiness(request: Request, now: float, why: str = "not ready for processing") -> PassOn:
    """Return what becomes of a request that is held back, `why`; `now` in seconds since the epoch.

    Raises:
        Rejected: it has waited too long and names no queue for that case.
    """
    parameters = request.parameters
    expiration = _seconds(parameters, "dispatcher_expiration")
    if expiration is None:
        timeout = _seconds(parameters, "dispatcher_timeout")
        expiration = now + (TIMEOUT if timeout is None else timeout)
    if expiration > now:
        waiting = {**parameters, "dispatcher_expiration": expiration}
        return PassOn(QUEUE, {**request.message, "parameters": waiting}, RETRY_DELAY, f"put off: {why}")
    queue = parameters.get("dispatcher_error_queue")
    if not queue:
        raise Rejected(f"after its time limit still {why}")
    if not isinstance(queue, str):
        raise Rejected(f"dispatcher_error_queue must be the name of a queue, not {kind(queue)}")
    return PassOn(queue, request.message, 0, f"sent to queue {queue}, after its time limit still {why}")


def parse(request: Request, filters: Mapping[str, Filter]) -> dict[str, Any]:
    """Return the request's message with its `recipe` ready to start.

    Raises:
        Rejected: a filter failed, or what came of it is no recipe.
        NotNow: a recipe cannot be read at the moment.
    """
    try:
        message = {**copy.deepcopy(request.message), "recipe": Recipe()}
        parameters = copy.deepcopy(request.parameters)
    except RecursionError:
        raise Rejected("the message is nested too deep") from None
    for name, apply in filters.items():
        try:
            message, parameters = apply(message, parameters)
        except (Rejected, NotNow):
            raise
        except Exception as e:  # a site's filter may raise anything
            raise Rejected(f"filter {name} failed: {type(e).__name__}: {e}") from e
    if not isinstance(message, dict):
        raise Rejected(f"the filters made {kind(message)} of the message")
    recipes.check_startable(message.get("recipe"))
    return message


def load_custom_recipe(message: dict[str, Any], parameters: dict[str, Any]) -> Any:
    """Filter: add the recipe that the message brings along."""
    if message.get("custom_recipe"):
        custom = recipes.custom_recipe(message["custom_recipe"])
        message["recipe"] = recipes.merged(message["recipe"], custom)
    return message, parameters


def load_recipes_from_files(directory: str | Path | None) -> Filter:
    """Return the filter that adds the recipes which a message names; they lie in `directory`."""

    def load(message: dict[str, Any], parameters: dict[str, Any]) -> Any:
        names = message.get("recipes") or []
        if not isinstance(names, list):
            raise Rejected(f"recipes must be a list of names, not {kind(names)}")
        for name in names:
            if not isinstance(name, str):
                raise Rejected(f"recipes must be a list of names, one of them is {kind(name)}")
            if not directory:
                raise Rejected(
                    f"recipe {name} cannot be found: the site configuration sets no zocalo.recipe_directory"
                )
            message["recipe"] = recipes.merged(message["recipe"], recipes.named_recipe(directory, name))
        return message, parameters

    return load


def apply_parameters(message: dict[str, Any], parameters: dict[str, Any]) -> Any:
    """Filter: fill {name} and {$REPLACE:name} in the recipe from the parameters."""
    message["recipe"].apply_parameters(parameters)
    return message, parameters


def _seconds(parameters: dict[str, Any], name: str) -> float | None:
    if name not in parameters:
        return None
    try:
        value = float(parameters[name])
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise Rejected(f"{name} must be a number of seconds, not {str(parameters[name])[:40]!r}")
    return value
