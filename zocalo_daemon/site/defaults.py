"""What a service gets that opens a transport of workflows by itself: the broker that the site has configured.

These transports are imported only where a service does so, for they cost each worker megabytes. So their
defaults are set when that happens, in the forkserver or in a worker.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_wanted: dict[str, tuple[str, dict[str, Any]]] = {}  # module: class and its defaults


def set_defaults(module: str, name: str, values: dict[str, Any]) -> None:
    """Have options of the class `name` of a module count as soon as that is imported."""
    _, before = _wanted.get(module, ("", {}))
    _wanted[module] = name, {**before, **values}
    if module in sys.modules:
        _apply(sys.modules[module])
    elif _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def _apply(module: ModuleType) -> None:
    name, values = _wanted[module.__name__]
    getattr(module, name).defaults.update(values)


class _Finder:
    """Finds these modules as they are found otherwise, and sets their defaults once they have run."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name in _wanted else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                _apply(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
