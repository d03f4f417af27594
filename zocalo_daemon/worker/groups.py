"""The control group and the limits of a worker: entered, and set, before any code of its service runs."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zocalo_daemon import cgroups, linux

_KINDS = {"open_files": resource.RLIMIT_NOFILE, "memory": resource.RLIMIT_DATA}


def fork(request: dict[str, Any]) -> tuple[int, str]:
    """Fork a worker into the control group that it is to be in; return its pid and the group, "" if outside.

    Args:
        request: the map `worker` of a fork request (protocol/channel.py).

    Raises:
        OSError: it cannot be forked.
    """
    confined = request.get("confined") or {}
    # Only of version 2: others are not a descriptor's to enter, and have no file of this name.
    with contextlib.suppress(OSError):
        if confined.get("unified"):
            group = confined["groups"][0]
            return _fork_into(group), group
    return os.fork(), ""


def _fork_into(group: str) -> int:
    os.mkdir(group, 0o755)  # noqa: PTH102 - every start waits for this
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.fork_into(directory)
    finally:
        os.close(directory)


def enter(request: dict[str, Any], inside: str) -> None:
    """Enter what this worker is not in yet, and set its limits; say what is not possible.

    Args:
        inside: the group that it was forked into, or "".
    """
    confined = request.get("confined") or {}
    for group in confined.get("groups", ()):
        if group != inside:
            with _said(f"the control group {group}"):
                with contextlib.suppress(FileExistsError):
                    Path(group).mkdir(0o755)
                cgroups.write(f"{group}/cgroup.procs", "0")
    for file, text in confined.get("settings", ()):
        with _said(f"{text} for {file}"):
            cgroups.write(file, text)
    for name, value in confined.get("rlimits", {}).items():
        with _said(f"{value} for limits.{name}"):
            resource.setrlimit(_KINDS[name], (value, value))


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as e:
        sys.stderr.write(f"{what} was not possible: {e.strerror if isinstance(e, OSError) else e}\n")
