"""What is known of a log record of a worker besides its text (pure): fields by the names of zocalo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_EXCEPTION = "workflows_exc_"  # CommonService: where the exception was raised that it reports


def told(message: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that are kept with each line, and those that only the log's outlet gets.

    Args:
        message: `log` of protocol/channel.py, whatever its parts may be.
        status: what workflows would tell of the service.
    """
    extra, where = message.get("extra"), message.get("where")
    own = dict(extra) if isinstance(extra, dict) else {}
    more = {f"workflows_{name}": value for name, value in status.items() if value}
    more["logger"] = message.get("logger")
    if isinstance(where, list):
        more.update(zip(("pathname", "lineno", "funcName"), where, strict=False))
    for key in [key for key in own if str(key).startswith(_OF_EXCEPTION)]:
        more[key.removeprefix(_OF_EXCEPTION)] = own.pop(key)
    return {str(key): value for key, value in own.items()}, more
