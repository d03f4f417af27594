"""What the statistics plugin of ActiveMQ is asked, and what it answers (pure).

https://activemq.apache.org/components/classic/documentation/statisticsplugin. A question is an empty message
to a queue that is called after those that it asks for; each of them has an answer, a map that the broker
writes as JSON in a way of its own: an entry is {"string": NAME, "long": VALUE}, or {"string": [NAME, VALUE]}.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

_QUESTION = "/queue/ActiveMQ.Statistics.Destination."
_NAME, _SIZE, _OUT, _CONSUMERS = "destinationName", "size", "inflightCount", "consumerCount"


class Figures(NamedTuple):
    """One queue: its destination, messages with those that are out, those alone, and subscriptions."""

    destination: str
    size: int
    out: int
    subscriptions: int


def question(destination: str) -> str:
    """Return where to ask for a queue, or for several by a pattern."""
    return _QUESTION + destination.removeprefix("/queue/")


def figures(body: bytes) -> Figures | None:
    """Return what an answer says, None if it does not speak of a queue."""
    try:
        known = dict(_pair(entry) for entry in json.loads(body)["map"]["entry"])
        name = str(known[_NAME]).removeprefix("queue://")
        return Figures(f"/queue/{name}", int(known[_SIZE]), int(known[_OUT]), int(known[_CONSUMERS]))
    except (ValueError, TypeError, LookupError):
        return None


def _pair(entry: dict[str, Any]) -> tuple[str, Any]:
    name = entry["string"]
    if isinstance(name, list):
        return name[0], name[1]
    (value,) = (one for key, one in entry.items() if key != "string")
    return name, value
