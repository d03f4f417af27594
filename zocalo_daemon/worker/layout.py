"""Where a forkserver's objects lie in memory, which decides how much of it its workers share.

Objects count their references in themselves, so a worker that only looks at an object writes to its page,
and has a copy of its own of that page (4 KiB) from then on. What every worker touches should therefore lie
side by side.
"""

from __future__ import annotations

import ctypes
import logging
from typing import Any

_POOL = 16 * 1024  # bytes; what CPython's allocator hands out blocks of one size from, since 3.10
_POOL_HEADER = 48  # bytes
_BLOCK = 16  # bytes; block sizes are multiples of it
_LARGEST_BLOCK = 512  # bytes; what is larger comes from malloc(3)
_MOST_BLOCKS = 20_000  # of one size; more gaps than the largest set of services leaves
_IN_ORDER = 1024  # bytes of blocks that follow each other: the pool is new, and its first page has room left
_LARGE = 64 * 1024  # bytes; what is twice as large has memory of its own (mallopt(3), M_MMAP_THRESHOLD)
_ENOUGH_LOGGERS = 256  # what services import seldom makes more; the places take 100 KiB, once for all workers

_places: list[logging.Logger] = []


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


def fill_heap() -> int:
    """Fill the gaps in what malloc(3) hands out, as `fill_gaps` does; return how many blocks that took.

    Locks, deques, dictionaries and extension modules have their memory there. The blocks are never freed.
    Measured: 80 KiB for each worker.
    """
    libc = ctypes.CDLL(None)
    malloc, sbrk = libc.malloc, libc.sbrk
    malloc.restype = sbrk.restype = ctypes.c_size_t
    malloc.argtypes, sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_ssize_t]
    end = max(malloc(_LARGE) for _ in range(3))  # behind all gaps of that size
    if end > sbrk(0):
        return 0  # another malloc than glibc's: how it goes about gaps is not known
    blocks = 0
    for size in (*(_LARGE >> shift for shift in range(1, 7)), *range(1008, _BLOCK, -_BLOCK)):
        while blocks < _MOST_BLOCKS and malloc(size) < end:
            blocks += 1
    return blocks


def pool_loggers() -> None:
    """Have loggers made side by side, whenever they are made, until `gather_loggers`.

    CommonService takes hold of each of them when it starts. Measured: 100 KiB for each worker.
    """
    _places.extend(logging.Logger.__new__(logging.Logger) for _ in range(_ENOUGH_LOGGERS))
    logging.Logger.manager.loggerClass = _make_logger  # type: ignore[assignment]


def _make_logger(name: str) -> logging.Logger:
    kind = logging.getLoggerClass()  # what is imported may have set its own
    if kind is not logging.Logger or not _places:
        return kind(name)
    logger = _places.pop()
    logger.__init__(name)  # type: ignore[misc]
    return logger


def gather_loggers() -> None:
    """Discard the handlers of all loggers and give them new containers, side by side.

    CommonService walks over every logger when it starts, twice, to discard their handlers and to clear their
    caches; it makes loggers of placeholders. Measured: 190 KiB for each worker.
    """
    manager = logging.Logger.manager
    if manager.loggerClass is _make_logger:
        manager.loggerClass = None
    known = manager.loggerDict
    loggers = [logging.getLogger(name) for name in (None, *known)]
    handlers: list[list[Any]] = [[] for _ in loggers]
    caches: list[dict[int, bool]] = [{} for _ in loggers]
    for logger, own_handlers, own_cache in zip(loggers, handlers, caches, strict=True):
        logger.handlers = own_handlers
        logger._cache = own_cache  # type: ignore[attr-defined]
    named = [(f"{name} "[:-1], known[name]) for name in known]
    known.clear()
    known.update(named)
