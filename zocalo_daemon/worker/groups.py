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
    confined = request.get("confined")
    if confined and confined["unified"]:  # into others a process can only move
        group = confined["groups"][0]
        try:
            os.mkdir(group, 0o755)  # noqa: PTH102 - every start waits for this
            return _fork_into(group), group
        except OSError:
            return os.fork(), ""  # `enter` says what is wrong, or can do it
    return os.fork(), ""


def _fork_into(group: str) -> int:
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.fork_into(directory)
    finally:
        os.close(directory)


def rehearse() -> None:
    """Do what each fork does, as far as that is possible without one (`rehearsal`)."""
    with contextlib.suppress(OSError):
        linux.fork_into(-1)
    enter({"confined": {"groups": [], "settings": [], "rlimits": {}}}, "")


def enter(request: dict[str, Any], inside: str) -> None:
    """Enter what this worker is not in yet, and set its limits; say what is not possible.

    Args:
        inside: the group that it was forked into, or "".
    """
    confined = request.get("confined")
    if not confined:
        return
    for group in confined["groups"]:
        if group != inside:
            with _said(f"the control group {group}"):
                with contextlib.suppress(FileExistsError):
                    Path(group).mkdir(0o755)
                cgroups.write(f"{group}/cgroup.procs", "0")
    for file, text in confined["settings"]:
        with _said(f"{text} for {file}"):
            cgroups.write(file, text)
    for name, value in confined["rlimits"].items():
        with _said(f"{value} for limits.{name}"):
            resource.setrlimit(_KINDS[name], (value, value))


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as e:
        sys.stderr.write(f"{what} was not possible: {e.strerror if isinstance(e, OSError) else e}\n")
