"""Log records as Graylog reads them: GELF 1.1 (pure).

The fields have the names that Graylog stores for records of graypy, which zocalo uses, so that what a site
has saved (searches, streams, alerts) goes on finding them: a field `_line` of GELF 1.1 is stored as `line`.

https://go2docs.graylog.org/current/getting_in_log_data/gelf.html
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from typing import Any

CHUNK = 1420  # bytes of a datagram that every network passes on whole
MOST_CHUNKS = 128
_TEXT = 16 * 1024  # letters; of a message that is too long for the chunks
_LONGEST = 100_000  # bytes

# Levels of `logging` and the least severe first: those of syslog (RFC 5424, 6.2.1).
_SEVERITIES = ((20, 7), (25, 6), (30, 5), (40, 4), (50, 3), (60, 2), (math.inf, 1))
_OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "asctime",
    "message",
    "taskName",
    "id",
}
_UNFIT = re.compile(r"[^\w.-]")


def encode(record: logging.LogRecord, text: str, host: str) -> bytes:
    """Return a record as JSON.

    Args:
        text: the message, as the handler formats it.
        host: where it was logged.
    """
    fields: dict[str, Any] = {
        "version": "1.1",
        "host": host,
        "short_message": text or "-",  # Graylog refuses an empty one
        "timestamp": record.created,
        "level": next(severity for below, severity in _SEVERITIES if record.levelno < below),
        "_facility": record.name,
        "_level_name": record.levelname,
        "_file": record.pathname,
        "_line": record.lineno,
        "_function": record.funcName,
        "_pid": record.process,
        "_thread_name": record.threadName,
        "_process_name": record.processName,
    }
    if record.exc_text:
        fields["full_message"] = record.exc_text
    more = {_name(key): value for key, value in vars(record).items() if key not in _OWN and key[:1] != "_"}
    data = _json(fields | more)
    if len(data) > _LONGEST:
        cut: dict[str, Any] = {
            key: fields[key][:_TEXT] for key in ("short_message", "full_message") if key in fields
        }
        data = _json(fields | cut)
    return data if len(data) <= _LONGEST else _json({**fields, **cut, "full_message": "(left out)"})


def chunks(data: bytes, number: bytes) -> Iterator[bytes]:
    """Yield the datagrams for a message; `number` is of 8 bytes and its own."""
    if len(data) <= CHUNK:
        yield data
        return
    parts = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    for index, part in enumerate(parts):
        yield b"\x1e\x0f" + number + bytes((index, len(parts))) + part


def _name(key: str) -> str:
    return "_" + _UNFIT.sub("_", key)


def _json(fields: dict[str, Any]) -> bytes:
    plain = {key: _plain(value) for key, value in fields.items() if value is not None}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _plain(value: Any) -> str | int | float:
    """Return what Graylog takes: text or a number."""
    if isinstance(value, str) or (type(value) in (int, float) and math.isfinite(value)):
        return value  # type: ignore[no-any-return]
    try:
        return json.dumps(value, default=str, allow_nan=False)
    except Exception:  # a __str__ of the service that raises, a number that JSON lacks
        return f"<{type(value).__name__}>"
