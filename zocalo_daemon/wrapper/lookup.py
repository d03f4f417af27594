"""Finds the class of a job: one of ours, an entry point of zocalo.wrappers, or package.module:Class."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from zocalo_daemon.worker.lookup import describe, suggestion
from zocalo_daemon.wrapper.outcome import NoSuchWrapper

GROUP = "zocalo.wrappers"
# No entry point, for the reason that is given in worker/lookup.py.
OWN = {"dummy": "zocalo_daemon.wrapper.base:DummyWrapper"}


def make(name: str, config: Any) -> Any:
    """Return the job, an object of the class that is named.

    Args:
        config: the site configuration.

    Raises:
        NoSuchWrapper: there is no such class, or what it executes on the way raises something.
    """
    point = _points().get(name)
    if point is None and ":" in name:
        point = EntryPoint(name, name, GROUP)
    if point is None:
        known = sorted(_points())
        raise NoSuchWrapper(
            f"no wrapper {name!r} among ours and the entry points {GROUP} of {sys.executable}"
            f"{suggestion(name, known)}; there are: {', '.join(known)}; package.module:Class works as well"
        )
    try:
        return point.load()(environment={"config": config})
    except (Exception, SystemExit) as e:  # a module of the site, or its constructor
        raise NoSuchWrapper(f"wrapper {name!r} cannot be used: {describe(e)}") from e


def _points() -> dict[str, EntryPoint]:
    """Return what there is by name; ours count if zocalo has one of the same name."""
    ours = {name: EntryPoint(name, value, GROUP) for name, value in OWN.items()}
    return {**{point.name: point for point in entry_points(group=GROUP)}, **ours}
