"""Delayed messages on a RabbitMQ without the delayed-message exchange (pure).

A message waits in a queue that nobody reads, until its time to live is over; the broker then dead-letters it
to where it was meant to go (https://www.rabbitmq.com/docs/ttl, https://www.rabbitmq.com/docs/dlx). All
messages of such a queue wait equally long, for only the head of a queue expires. It is durable, and goes
when it was not declared again for some time (x-expires): that time counts from the last declaration,
whatever lies in the queue, so whoever publishes declares it again well before.
"""

from __future__ import annotations

import hashlib
from typing import Any

PREFIX = "delay."
FRESH = 60.0  # seconds for which a declaration may be relied on
LONGEST = 20 * 86400.0  # seconds: twice as long in milliseconds still fits into 32 bits
_NAME_LIMIT = 255  # bytes of a short string in AMQP
_HEADERS = ("x-first-death-exchange", "x-first-death-queue", "x-first-death-reason")
_LAST_HEADERS = ("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason")


def milliseconds(seconds: float) -> int:
    """Return a delay with two significant digits, rounded up, so that the queues stay few."""
    exact = max(1, int(seconds * 1000 + 0.999))
    step: int = 10 ** max(0, len(str(exact)) - 2)
    return -(-exact // step) * step


def queue_for(delay: int, exchange: str, key: str) -> tuple[str, dict[str, Any]]:
    """Return the name and arguments of the queue in which messages wait.

    Args:
        delay: milliseconds.
        exchange, key: where they go then.
    """
    name = f"{PREFIX}{delay}.{exchange}.{key}" if exchange else f"{PREFIX}{delay}.{key}"
    if len(name.encode()) > _NAME_LIMIT:
        name = f"{PREFIX}{delay}.{hashlib.sha256(f'{exchange}.{key}'.encode()).hexdigest()}"
    return name, {
        "x-message-ttl": delay,
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-routing-key": key,
        "x-expires": 2 * delay + int(2 * FRESH * 1000),
    }


def target_of(name: str) -> str:
    """Return the queue to which the messages of a delay queue go, "" if its name does not tell."""
    delay, _, target = name.removeprefix(PREFIX).partition(".")
    return target if name.startswith(PREFIX) and delay.isdecimal() else ""


def hide(headers: dict[str, Any]) -> dict[str, Any]:
    """Return headers without the traces that the waiting has left."""
    history = headers.get("x-death")
    if not isinstance(history, list):
        return headers
    kept = [e for e in history if not (isinstance(e, dict) and _is_ours(e.get("queue")))]
    if len(kept) == len(history):
        return headers
    made = {key: value for key, value in headers.items() if key != "x-death"}
    if kept:
        made["x-death"] = kept
    for names in (_HEADERS, _LAST_HEADERS):
        if _is_ours(headers.get(names[1])):
            for name in names:
                made.pop(name, None)
    return made


def _is_ours(queue: Any) -> bool:
    return isinstance(queue, str) and queue.startswith(PREFIX)
