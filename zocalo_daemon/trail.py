"""The files of the trail (protocol/trail): many processes append, the oldest file is dropped in time.

Everybody appends to `latest`, with O_APPEND and one write(2), and opens it anew for that. Who has made it too
large renames it to the time of that, and deletes what is too old; a lock on the file itself sees to it that
only one does. Nothing is synced: what a power cut takes is what the kernel had not written yet.
"""

# ruff: noqa: PTH103, PTH104, PTH108, PTH116, PTH118, PTH208 - pathlib would cost each worker a tenth of a MiB (see worker/layout.py)

from __future__ import annotations

import contextlib
import fcntl
import os
import time

PARTS = 16  # files: so much of the whole is dropped at once
LATEST = "latest"
LEAST = 64 * 1024  # bytes of one file, however little is to be kept


def part_of(size: int) -> int:
    """Return how large one file may become, so that all of them have `size` bytes; 0 for no trail."""
    return max(size // PARTS, LEAST) if size else 0


def append(directory: str, data: bytes, part: int) -> None:
    """Add lines to the trail.

    Args:
        directory: where it is; made if it is not there.
        part: how large one file may become, in bytes.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = _open(directory)
    try:
        os.write(descriptor, data)
        if os.lseek(descriptor, 0, os.SEEK_CUR) >= part:
            _rotate(directory, descriptor, part)
    finally:
        os.close(descriptor)


def parts(directory: str) -> list[str]:
    """Return the paths of the files, the oldest first."""
    try:
        names = [name for name in os.listdir(directory) if name.isdigit() or name == LATEST]
    except OSError:
        return []
    return [os.path.join(directory, name) for name in sorted(names)]  # digits stand before letters


def _open(directory: str) -> int:
    path, flags = os.path.join(directory, LATEST), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(directory, 0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def _rotate(directory: str, descriptor: int, part: int) -> None:
    path = os.path.join(directory, LATEST)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # ends when it is closed
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_ino == os.fstat(descriptor).st_ino:  # else somebody has done it meanwhile
            latest = max(
                (int(name) for name in map(os.path.basename, parts(directory)) if name != LATEST), default=0
            )
            # Above all others, also if the clock was put back.
            os.rename(path, os.path.join(directory, f"{max(time.time_ns(), latest + 1):020d}"))
            prune(directory, part * (PARTS - 1))


def prune(directory: str, most: int) -> None:
    """Delete the oldest files, so that the others but for the latest have no more than `most` bytes together.

    With no bytes, the latest goes as well.
    """
    total = 0
    for path in reversed(parts(directory)):
        if not path.endswith(LATEST) or not most:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(path).st_size
                if total > most or not most:
                    os.unlink(path)
