"""What a crash report says (pure but for the wall clock, by which people read it)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from zocalo_daemon import __version__
from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision.causes import Cause
from zocalo_daemon.supervision.events import Exit, signal_name
from zocalo_daemon.supervision.slots import Worker
from zocalo_daemon.supervision.worker_process import Process

LOG_LINES = 100
LOG_LINE = 2000  # characters
TRACEBACK = 32 * 1024  # characters
HEADERS = 64
HEADER = 1000  # characters


def of_death(
    number: int,
    process: Process,
    known: Worker,
    exit_: Exit,
    cause: Cause,
    *,
    dump: Sequence[str],
    entry: Entry | None,
    not_reported: int,
) -> dict[str, Any]:
    """Return the report of a worker that has just ended, without the delivery that it had in hand.

    Args:
        dump: what faulthandler has written about its threads.
        entry: what it has noted on the board.
        not_reported: crashes of the service before it without a report.
    """
    config = known.slot.service.config
    wall, now = time.time(), time.monotonic()
    return {
        "id": number,
        "time": wall,
        "instance": process.instance,
        "service": config.name,
        **{"cause": cause.word, "text": cause.text[:2000]},
        **{"queue": None, "dead_lettered": False},
        "class": config.service_class,
        "runtime": config.runtime,
        "pid": process.pid,
        "exit": _exit(exit_),
        **_life(known, wall, now),
        **_times(entry, now),
        **{"max_rss_bytes": exit_.max_rss, "cpu_s": exit_.cpu_s},
        "not_reported": not_reported,
        "version": __version__,
        "delivery": None,
        "traceback": (process.traceback or "\n".join(dump))[-TRACEBACK:].splitlines(),
        "log": _log(process, set(dump)),
    }


def of_delivery(delivery: dict[str, Any]) -> dict[str, Any]:
    """Return what an answer of the relay (protocol/link.py, `forfeit`) adds to a report."""
    body, headers = delivery.get("body"), delivery.get("headers")
    told = {key: delivery.get(key) for key in ("number", "transport", "queue", "redelivered")}
    told["headers"] = _bounded(headers) if isinstance(headers, dict) else {}
    size = delivery.get("size") or 0
    told["size"] = size
    told["cut"] = max(0, size - len(body)) if isinstance(body, bytes) else 0
    told["body"] = _text(body, whole=not told["cut"]) if isinstance(body, bytes) else None
    told["crashes"] = delivery.get("crashes") or []
    told["reason"] = str(delivery.get("reason") or "")
    return {
        "queue": str(delivery.get("queue"))[:500],
        "dead_lettered": bool(delivery.get("dead_lettered")),
        "delivery": told,
    }


def _exit(exit_: Exit) -> dict[str, object]:
    signal = signal_name(-exit_.code) if exit_.code < 0 else None
    return {"code": exit_.code, "signal": signal, "text": str(exit_)}


def _life(known: Worker, wall: float, now: float) -> dict[str, float | None]:
    return {
        "started": _wall(known.started_at, wall, now),
        "ready": _wall(known.ready_at, wall, now),
        "uptime_s": round(now - known.started_at, 3) if known.started_at is not None else None,
    }


def _wall(moment: float | None, wall: float, now: float) -> float | None:
    return None if moment is None else round(wall - (now - moment), 3)


def _times(entry: Entry | None, now: float) -> dict[str, float | None]:
    """Return for how many seconds the message of a running callback was in hand, and that was silent."""
    if entry is None or entry.begun <= entry.ended:
        return {"in_hand_s": None, "silent_s": None}
    # With others waiting in the service's own queue, the time on the board is not that of this message.
    handed = entry.handed if entry.given == entry.begun else None
    return {
        "in_hand_s": None if handed is None else round(now - handed / 1e9, 3),
        "silent_s": round(now - entry.progress / 1e9, 3),
    }


def _log(process: Process, dump: set[str]) -> list[dict[str, Any]]:
    """Return the latest lines of a worker, but for its traceback, which is shown apart."""
    apart = dump | {""} if dump else dump
    lines = [item for item in process.tail.items if item["text"] not in apart]
    return [
        {"time": item["time"], "level": item["level"], "text": item["text"][:LOG_LINE]}
        for item in lines[-LOG_LINES:]
    ]


def _bounded(headers: dict[str, Any]) -> dict[str, Any]:
    kept = {str(name)[:HEADER]: _value(value) for name, value in list(headers.items())[:HEADERS]}
    if len(headers) > HEADERS:
        kept["..."] = f"{len(headers) - HEADERS} more headers"
    return kept


def _value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return _text(value[:HEADER], whole=len(value) <= HEADER)
    text = str(value)
    return text if len(text) <= HEADER else f"{text[:HEADER]}... ({len(text)} characters)"


def _text(data: bytes, *, whole: bool = True) -> Any:
    """Return bytes as JSON can have them: text, or base64 if they are none."""
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        if not whole and e.start > len(data) - 4:  # cut within its last character
            return data[: e.start].decode()
    import base64  # noqa: PLC0415 - the new code of a reexec does without

    return {"base64": base64.b64encode(data).decode()}
