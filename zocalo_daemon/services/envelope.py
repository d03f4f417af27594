"""What every recipe-driven service does first: take a message out of its envelope, or say why it cannot.

`workflows.recipe.wrap_subscribe` does the same, but what a malformed envelope makes it raise ends the
service; here it becomes a Rejected, and the service goes on with the next message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from opentelemetry import trace
from workflows.recipe import RecipeWrapper

LogExtender = Callable[[str, Any], AbstractContextManager[Any]]

MARK = "workflows-recipe"
_MARKED = (True, "True", "true", 1)  # what brokers make of a boolean header


class Rejected(Exception):
    """A message that can never be processed, however often it is delivered; the text says why."""


class NotNow(Exception):
    """A message that cannot be processed at the moment; the text says why."""


def unwrap(header: Mapping[str, Any] | None, message: Any, transport: Any) -> tuple[Any, Any]:
    """Return the RecipeWrapper of a message and its payload; (None, message) if it is in no envelope.

    Raises:
        Rejected: the header says that it is a recipe message, and it is not.
    """
    if (header or {}).get(MARK) not in _MARKED:
        return None, message
    if not isinstance(message, dict):
        raise Rejected(f"a recipe message must be a JSON object, this is {kind(message)}")
    missing = [key for key in ("recipe", "recipe-pointer") if key not in message]
    if missing:
        raise Rejected(f"a recipe message without {' and '.join(missing)}")
    if not isinstance(message.get("environment", {}), dict):
        raise Rejected(f"the environment of a recipe must be an object, not {kind(message['environment'])}")
    try:
        wrapper = RecipeWrapper(message=message, transport=transport)
    except Exception as e:  # any kind: it is whatever the recipe makes workflows stumble over
        raise Rejected(f"the recipe in this message cannot be read: {type(e).__name__}: {e}") from None
    if not isinstance(wrapper.recipe_step, dict):
        raise Rejected(
            f"node {wrapper.recipe_pointer} of the recipe is {kind(wrapper.recipe_step)}, not an object"
        )
    return wrapper, message.get("payload")


@contextlib.contextmanager
def recipe_context(wrapper: Any, extend_log: LogExtender) -> Any:
    """Attach the recipe's ID to log records and to the trace span, as wrap_subscribe does."""
    recipe_id = wrapper.environment.get("ID") if wrapper else None
    with ExitStack() as stack:
        if recipe_id:
            span = trace.get_current_span()
            span.set_attribute("recipe_id", str(recipe_id))
            context = span.get_span_context()
            stack.enter_context(extend_log("recipe_ID", recipe_id))
            if context.is_valid:
                stack.enter_context(extend_log("span_id", context.span_id))
                stack.enter_context(extend_log("trace_id", context.trace_id))
        yield


def kind(value: Any) -> str:
    """Return what a value is, in the words of JSON."""
    names = {dict: "an object", list: "a list", str: "a text", bytes: "bytes", bool: "a boolean"}
    if value is None:
        return "nothing"
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
