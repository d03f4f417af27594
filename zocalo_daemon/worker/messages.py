"""From the arguments of a service's calls to what travels, and back (pure)."""

from __future__ import annotations

import decimal
import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import workflows
from workflows.transport.common_transport import json_serializer

from zocalo_daemon.protocol.worker import TOPIC, Frame

UNLIMITED = 65535  # AMQP: a prefetch_count of 0 is no limit, and this is the highest there is
PRIORITIES = range(10)
PERSISTENT = 2  # AMQP delivery_mode
MOST_REASON = 500  # characters of the reason that a dead letter carries
STATUS_TOPIC = "transient.status"
STATUS_EXPIRATION = 15  # seconds


def to_json(message: Any) -> str:
    """Return a message as JSON; Decimal becomes float."""
    return json.dumps(message, default=json_serializer)


def from_json(message: Any) -> Any:
    """Return what JSON stands for, or the message itself if it is none, or is nested too deep to be read."""
    try:
        return json.loads(message)
    except (TypeError, ValueError, RecursionError):
        return message


def publication(
    kind: int,
    destination: Any,
    message: Any,
    *,
    headers: Mapping[str, Any] | None = None,
    delay: float | None = None,
    expiration: float | None = None,
    exchange: str | None = None,
    priority: int | None = None,
    persistent: bool | None = None,
    ignore_namespace: bool = False,
    **_others: Any,
) -> list[Any]:
    """Return the publication of a send or broadcast; arguments of other transports are ignored.

    Args:
        delay, expiration: seconds from now.

    Raises:
        workflows.Error: a value that no broker takes, before anything is sent.
    """
    options: dict[str, Any] = {}
    if delay:
        options["delay"] = _seconds("delay", delay)
    if expiration is not None:
        options["expiration"] = _seconds("expiration", expiration)
    if exchange:
        options["exchange"] = str(exchange)
    if priority is not None:
        options["priority"] = _priority(priority)
    if persistent is not None:
        # STOMP writes it as "true" and "false".
        options["persistent"] = persistent not in (False, "false")
    if ignore_namespace:
        options["ignore_namespace"] = True
    return [kind, str(destination), _headers(headers), _body(message), options]


def status(fields: Mapping[str, Any]) -> list[Any]:
    """Return the publication that says what a service is doing.

    Raises:
        ValueError: a field is missing without which no monitor can show it.
    """
    missing = {"host", "workflows", "status"} - fields.keys()
    if missing:
        raise ValueError(f"Missing required field(s) for status broadcast: {', '.join(missing)}")
    return publication(TOPIC, STATUS_TOPIC, to_json(fields), expiration=STATUS_EXPIRATION)


def subscribe_options(
    *,
    acknowledgement: bool = False,
    prefetch_count: int | None = None,
    exclusive: bool = False,
    priority: int | None = None,
    retroactive: bool = False,
    selector: str | None = None,
    ignore_namespace: bool = False,
    **_others: Any,
) -> tuple[dict[str, Any], int]:
    """Return the options of a SUBSCRIBE frame and how many unsettled deliveries the service may have.

    Raises:
        workflows.Error: a number that is none.
    """
    gate, prefetch = 1, 0
    if acknowledgement and prefetch_count is not None:
        gate = prefetch = _whole("prefetch_count", prefetch_count) or UNLIMITED
    options = {
        "ack": bool(acknowledgement),
        "prefetch": prefetch,
        "exclusive": bool(exclusive),
        "priority": _whole("priority", priority or 0),
        "retroactive": bool(retroactive),
        "selector": str(selector or ""),
        "ignore_namespace": bool(ignore_namespace),
    }
    return options, gate


def callback_headers(frame: Frame, subscription: int) -> dict[str, Any]:
    """Return the headers that a callback gets for a DELIVER frame: the message's, and PikaTransport's."""
    _kind, _sub, delivery, redelivered, made, _body, routing_key, exchange = frame
    headers: dict[str, Any] = made
    headers["consumer_tag"] = str(subscription)
    headers["delivery_mode"] = PERSISTENT
    headers["exchange"] = exchange
    headers["message-id"] = delivery
    headers["redelivered"] = redelivered
    headers["routing_key"] = routing_key
    headers["subscription"] = subscription
    return headers


def requeue_or_reason(requeue: bool | None, reason: Any) -> bool | str | None:
    """Return what a NACK frame says: whether to deliver again, or for what reason not to."""
    if requeue is not None or not reason:
        return requeue
    # As a log line, it may quote a message that is no valid text.
    return str(reason)[:MOST_REASON].encode("utf-8", "backslashreplace").decode()


def plain(value: Any) -> Any:
    """Return a header value of an odd type as one that travels (the packer asks for these alone).

    Raises:
        TypeError: there is nothing to make of it.
    """
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"a header cannot hold a value of the type {type(value).__name__}")


def _headers(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    if not headers:
        return {}
    for key in headers:
        if type(key) is not str:
            raise workflows.Error(f"the name of a header must be text, not {key!r}")
    return dict(headers)


def _body(message: Any) -> bytes:
    if type(message) is bytes:
        return message
    if isinstance(message, str):
        try:
            return message.encode()
        except UnicodeEncodeError as e:
            raise workflows.Error(f"this message is no valid text: {e}") from None
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    raise workflows.Error(f"a raw message must be text or bytes, not {type(message).__name__}")


def _seconds(what: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not math.isfinite(seconds) or seconds < 0:
        raise workflows.Error(f"{what} must be a number of seconds from 0, not {value!r}")
    return seconds


def _whole(what: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise workflows.Error(f"{what} must be a whole number, not {value!r}") from None
    if what == "prefetch_count" and number < 0:
        raise workflows.Error(f"{what} must be 0 or more, not {value!r}")
    return number


def _priority(value: Any) -> int:
    number = _whole("priority", value)
    if number not in PRIORITIES:
        raise workflows.Error(f"priority must be from 0 to 9, not {value!r}")
    return number
