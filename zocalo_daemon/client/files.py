"""Files that others may read while they are made: whole or not there, and on disk when it is said."""

from __future__ import annotations

import contextlib
import itertools
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def write_new(directory: str, name: str, text: str) -> str:
    """Write a new file and return its path; if the name is taken, the file gets a number behind it.

    Nothing but the whole file ever appears under its name, and it is on disk when this returns.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    os.makedirs(directory, exist_ok=True)
    partial = os.path.join(directory, f".{os.getpid()}-{os.urandom(8).hex()}.part")
    try:
        with open(partial, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        path = next(path for path in _candidates(directory, name) if _link(partial, path))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
    _sync(directory)
    return path


def write_over(path: str, text: str, mode: int) -> None:
    """Write a file in the place of one that may be there.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    partial = f"{path}.{os.getpid()}.part"
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    os.rename(partial, path)


def _candidates(directory: str, name: str) -> Iterator[str]:
    yield os.path.join(directory, name)
    for number in itertools.count(2):
        yield os.path.join(directory, f"{name}-{number}")


def _link(partial: str, path: str) -> bool:
    # rename(2) would replace what is there: link(2) does not, but not every file system has it.
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError:
        if os.path.lexists(path):
            return False
        os.rename(partial, path)
    return True


def _sync(directory: str) -> None:
    """Have the name of a new file on disk as well."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
