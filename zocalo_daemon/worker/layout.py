"""Where a forkserver's objects lie in memory, which decides how much of it its workers share.

Objects count their references in themselves, so a worker that only looks at an object writes to its page,
and has a copy of its own of that page (4 KiB) from then on. What every worker touches should therefore lie
side by side.
"""

from __future__ import annotations

import logging
from typing import Any

_POOL = 16 * 1024  # bytes; what CPython's allocator hands out blocks of one size from, since 3.10
_POOL_HEADER = 48  # bytes
_BLOCK = 16  # bytes; block sizes are multiples of it
_LARGEST_BLOCK = 512  # bytes; what is larger comes from malloc(3)
_MOST_BLOCKS = 20_000  # of one size; more gaps than the largest set of services leaves
_IN_ORDER = 1024  # bytes of blocks that follow each other: the pool is new, and its first page has room left


def fill_gaps() -> list[Any]:
    """Return objects that fill the gaps in memory: what is made afterwards gets pages of its own.

    The gaps are left by what importing made and dropped, all over the heap; each new object of a worker
    would take a page out of sharing. Measured: 200 KiB for each worker.
    """
    return [_fill(size) for size in range(_BLOCK, _LARGEST_BLOCK + 1, _BLOCK)]


def _fill(size: int) -> list[Any]:
    filling: list[Any] = []
    following = 0
    last = 0
    enough = max(3, min(30, _IN_ORDER // size))
    while following < enough and len(filling) < _MOST_BLOCKS:
        block = _block(size)
        filling.append(block)
        place = id(block)
        if place % _POOL == _POOL_HEADER:
            following = 1
        elif following and place == last + size:
            following += 1
        else:
            following = 0
        last = place
    return filling


def _block(size: int) -> Any:
    """Return a new object of that many bytes, or a few less."""
    if size == object.__basicsize__:
        return object()
    if size <= bytes.__basicsize__:
        return float(size)
    return bytes(size - bytes.__basicsize__)


def gather_loggers() -> None:
    """Discard the handlers of all loggers and give them new containers, side by side.

    CommonService walks over every logger when it starts, twice, to discard their handlers and to clear their
    caches; it makes loggers of placeholders. Measured: 190 KiB for each worker.
    """
    known = logging.Logger.manager.loggerDict
    loggers = [logging.getLogger(name) for name in (None, *known)]
    handlers: list[list[Any]] = [[] for _ in loggers]
    caches: list[dict[int, bool]] = [{} for _ in loggers]
    for logger, own_handlers, own_cache in zip(loggers, handlers, caches, strict=True):
        logger.handlers = own_handlers
        logger._cache = own_cache  # type: ignore[attr-defined]
    named = [(f"{name} "[:-1], known[name]) for name in known]
    known.clear()
    known.update(named)
