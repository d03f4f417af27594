"""Headers as AMQP tables carry them, and as services know them (pure)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

from zocalo_daemon.brokers import rabbitmq_delays

_SIMPLE = (str, int, bool, bytes, type(None))
_DIGITS, _DECIMALS = 9, 255


def to_amqp(headers: dict[str, Any]) -> dict[str, Any]:
    """Return headers for a message; the times of x-death become timestamps, as RabbitMQ writes them.

    Raises:
        ValueError: a number that AMQP cannot carry.
    """
    if all(type(value) in _SIMPLE for value in headers.values()):
        return headers
    made = {key: _carried(value) for key, value in headers.items()}
    if isinstance(made.get("x-death"), list):
        made["x-death"] = [_with_timestamp(entry) for entry in made["x-death"]]
    return made


def from_amqp(headers: dict[str, Any]) -> dict[str, Any]:
    """Return the headers of a message in plain types; timestamps become seconds since the epoch."""
    if not headers:
        return {}
    return {str(key): _plain(value) for key, value in rabbitmq_delays.hide(headers).items()}


def _carried(value: Any) -> Any:
    if isinstance(value, float):
        return _decimal(value)
    if isinstance(value, dict):
        return {key: _carried(one) for key, one in value.items()}
    return [_carried(one) for one in value] if isinstance(value, list | tuple) else value


def _decimal(value: float) -> Decimal:
    # pika writes no floats, and reads those of others as integers. A decimal has 31 bits: nine digits.
    made = Decimal(repr(value))
    if not made.is_finite():
        raise ValueError(f"a header cannot be {value}")
    made = Context(prec=_DIGITS).create_decimal(made).normalize()
    if made.adjusted() >= _DIGITS or -int(made.as_tuple().exponent) > _DECIMALS:
        raise ValueError(f"a header cannot be {value}: AMQP has decimals of nine digits")
    return made


def _with_timestamp(entry: Any) -> Any:
    if isinstance(entry, dict) and type(entry.get("time")) is int:
        return {**entry, "time": datetime.fromtimestamp(entry["time"], UTC).replace(tzinfo=None)}
    return entry


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | bytes | float | None):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(aware.timestamp())
    return float(value) if isinstance(value, Decimal) else str(value)
