"""A dead letter as a file, and back (pure): the format of `zocalo.dlq_purge`, with what that one loses.

    {"exported": {"date", "time", "queue", "origin", "topic", "reason", "transport"},
     "header": {...}, "message": ..., "body": "what was sent, if `message` does not say it to the byte",
     "properties": {"priority", "content_type", ... of AMQP, if it has any}}

Files of zocalo have but date and time below `exported`: where their message belongs is found in its headers.
Bytes stand as {"base64": "..."}.
"""

from __future__ import annotations

import json
import os
import re
import time
from base64 import b64decode, b64encode

from zocalo_daemon.errors import ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Letter = dict[str, Any]

REINJECTED = "dlq-reinjected"  # the mark of zocalo.dlq_reinject, which services may look for

# What the transports of workflows put among the headers of a message that they hand out.
_PIKA = {"consumer_tag", "delivery_mode", "exchange", "message-id", "redelivered", "routing_key"}
_STOMP = {
    *("content-length", "destination", "expires", "message-id", "original-destination"),
    *("originalExpiration", "timestamp", "ack"),
}
_RECEIVED = _PIKA | _STOMP | {"subscription"}


def document(letter: Letter, now: float) -> Letter:
    """Return what goes into the file of a dead letter of `dlq.list`; `now` in seconds since the epoch."""
    body = letter["body"] if isinstance(letter["body"], bytes) else str(letter["body"]).encode()
    message, exact = _message(body)
    moment = time.localtime(now)
    return {
        "exported": {
            "date": time.strftime("%Y-%m-%d", moment),
            "time": time.strftime("%H:%M:%S", moment),
            **{key: letter.get(key) for key in ("queue", "origin", "topic", "reason", "transport")},
        },
        "header": _shown(letter.get("headers") or {}),
        "message": message,
        **({} if exact else {"body": _text(body)}),
        **({"properties": letter["properties"]} if letter.get("properties") else {}),
    }


def name_of(letter: Letter, now: float) -> str:
    """Return the path of its file below the directory for such files: a day, a name by time and id."""
    died = letter.get("time") or now
    identity = (letter.get("headers") or {}).get("message-id") or letter.get("id")
    clean = re.sub(r"[^a-zA-Z0-9._-]+", "_", str(identity))[:100]
    moment = time.localtime(died)
    stamp = time.strftime("%Y%m%d-%H%M%S", moment)
    return os.path.join(
        time.strftime("%Y-%m-%d", moment), f"msg-{stamp}-{int(died * 1000) % 1000:03d}-{clean}"
    )


def read(text: str) -> Letter:
    """Return what to send for the text of a file: kind, destination, headers, body, properties, transport.

    `whole` says that the destination is what ActiveMQ calls it, with the namespace that it is in.

    Raises:
        ZocaloError: it is no dead letter, or does not say where it belongs (destination is then "").
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ZocaloError(f"it is not JSON: {e}") from None
    if not isinstance(found, dict) or not isinstance(found.get("header"), dict) or "message" not in found:
        raise ZocaloError("it is no dead letter: it needs 'header', a map, and 'message'")
    exported = found["exported"] if isinstance(found.get("exported"), dict) else {}
    origin = exported.get("origin")
    headers = _unshown(found["header"])
    if isinstance(origin, str) and origin:
        kind = "topic" if exported.get("topic") else "queue"
        transport, whole = exported.get("transport"), False
    else:
        kind, origin, whole = _origin(headers)
        headers = {key: _mended(key, one) for key, one in headers.items() if key not in _RECEIVED}
        transport = None
    return {
        "kind": kind,
        "destination": origin,
        "headers": {**headers, REINJECTED: True},
        "body": _body(found),
        "properties": found["properties"] if isinstance(found.get("properties"), dict) else {},
        "transport": transport if isinstance(transport, str) else None,
        "whole": whole,
    }


# -- Bodies


def _message(body: bytes) -> tuple[Any, bool]:
    """Return the message of a body, and whether it gives the same bytes again."""
    try:
        message = json.loads(body)
        return message, json.dumps(message).encode() == body
    except (ValueError, RecursionError):
        return _text(body), False


def _body(found: Letter) -> bytes:
    message = found["message"]
    if "body" in found:
        body = _bytes(found["body"])
        # Somebody may have mended the message in the file: then that is what counts.
        if _message(body)[0] == message:
            return body
        if isinstance(message, str) and not _is_json(body):
            return message.encode()
    return json.dumps(message).encode()


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _text(body: bytes) -> Any:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(body).decode()}


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    decoded = _unshown(value)
    if not isinstance(decoded, bytes):
        raise ZocaloError("it is no dead letter: 'body' must be text, or a map with 'base64'")
    return decoded


# -- Headers


def _shown(value: Any) -> Any:
    """Return a header as JSON can carry it."""
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(key): _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list) else value


def _unshown(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == ["base64"] and isinstance(value["base64"], str):
            try:
                return b64decode(value["base64"], validate=True)
            except ValueError:
                return value
        return {key: _unshown(one) for key, one in value.items()}
    return [_unshown(one) for one in value] if isinstance(value, list) else value


def _origin(headers: Letter) -> tuple[str, str, bool]:
    """Return where a message of a file of zocalo belongs, by its headers; "" if they do not say.

    With a namespace if the third is true, see `read`.

    A dead letter of RabbitMQ has left one queue, and goes back to that one, even if an exchange had brought
    it there: by the exchange it would go to its other queues again.
    """
    where = headers.get("original-destination") or headers.get("destination")
    if isinstance(where, str) and where.startswith(("/queue/", "/topic/")):
        return where[1:6], where[7:], True
    history = headers.get("x-death")
    first = history[0] if isinstance(history, list) and history else None
    queue = first.get("queue") if isinstance(first, dict) else None
    return "queue", queue if isinstance(queue, str) else "", False


def _mended(key: str, value: Any) -> Any:
    """Return a header as the broker had it: zocalo writes the times of x-death as fractions of seconds."""
    if key != "x-death" or not isinstance(value, list):
        return value
    return [
        {**one, "time": int(one["time"])}
        if isinstance(one, dict) and isinstance(one.get("time"), float)
        else one
        for one in value
    ]
