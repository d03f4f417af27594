"""What a dead letter carries (pure): headers as RabbitMQ writes them, and how they are read.

https://www.rabbitmq.com/docs/dlx#effects describes x-death: one map for each pair of queue and reason, the
latest first, counting how often it happened. `x-death-reason` is this daemon's own: the text.
"""

from __future__ import annotations

from typing import Any

PREFIX = "dlq."
TEXT = "x-death-reason"
REINJECTED = "dlq-reinjected"  # the mark of zocalo.dlq_reinject, which services may look for


def headers_of(headers: dict[str, Any], queue: str, text: str, now: float) -> dict[str, Any]:
    """Return the headers with which a message goes to the dead-letter queue.

    Args:
        queue: where it was rejected.
        text: why, for people.
        now: seconds since the epoch.
    """
    history = [dict(entry) for entry in _history(headers)]
    same = next((e for e in history if e.get("queue") == queue and e.get("reason") == "rejected"), None)
    if same is None:
        same = {"queue": queue, "reason": "rejected", "count": 0, "exchange": "", "routing-keys": [queue]}
        same["time"] = int(now)
    else:
        history.remove(same)
    same["count"] = _number(same.get("count")) + 1
    # RabbitMQ leaves the first time in place; people want to know when it happened last.
    same["time"] = int(now)
    first = {"x-first-death-queue": queue, "x-first-death-reason": "rejected", "x-first-death-exchange": ""}
    return {**first, **headers, "x-death": [same, *history], TEXT: text}


def origin_of(headers: dict[str, Any], queue: str) -> str:
    """Return the queue from which a dead letter in `queue` came."""
    for entry in _history(headers):
        if isinstance(entry.get("queue"), str):
            return str(entry["queue"])
    return queue.removeprefix(PREFIX)


def reason_of(headers: dict[str, Any]) -> str:
    """Return why a dead letter was rejected, as well as it is known."""
    text = headers.get(TEXT)
    if isinstance(text, str) and text:
        return text
    history = _history(headers)
    return str(history[0].get("reason", "")) if history else ""


def time_of(headers: dict[str, Any]) -> float:
    """Return when a dead letter was rejected, in seconds since the epoch; 0 if unknown."""
    history = _history(headers)
    return float(_number(history[0].get("time"))) if history else 0.0


def _history(headers: dict[str, Any]) -> list[dict[str, Any]]:
    history = headers.get("x-death")
    return [e for e in history if isinstance(e, dict)] if isinstance(history, list) else []


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0
