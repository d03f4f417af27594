"""Whether the code of a service has changed: a hash over the files that it was loaded from.

What counts are all files of the service's own package, and every module outside the standard library that
its module refers to, directly or through others. Not what happens to be loaded: then adding one service
would change the fingerprint of its neighbours.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

_STANDARD = sys.stdlib_module_names | {"__main__", "builtins"}
_SOURCES = (".py", ".so")
_MAX_FILES = 5000  # of one package: a fingerprint must not take seconds on a slow file system


def fingerprint(module_name: str, preload: Iterable[str]) -> str:
    """Return 16 hexadecimal digits that change with the code of the service class in `module_name`.

    Args:
        preload: modules that every service of the runtime may use without referring to them.
    """
    files = set(_package_files(module_name.partition(".")[0]))
    for name in _closure([module_name, *preload]):
        file = getattr(sys.modules[name], "__file__", None)
        if file:
            files.add(file)
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(files):
        try:
            stat = os.stat(file)  # noqa: PTH116  a Path for each of hundreds of files costs ten times as much
        except OSError:
            continue  # inside a zip archive, or gone
        digest.update(f"{file}\0{stat.st_mtime_ns}\0{stat.st_size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _package_files(package: str) -> Iterator[str]:
    module = sys.modules.get(package)
    count = 0
    for root in list(getattr(module, "__path__", ())):
        for directory, subdirectories, names in os.walk(root):
            subdirectories[:] = [d for d in subdirectories if d != "__pycache__"]
            for name in names:
                if name.endswith(_SOURCES):
                    count += 1
                    if count > _MAX_FILES:
                        return
                    yield f"{directory}/{name}"


def _closure(names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    todo = [name for name in names if name in sys.modules]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(_direct(name) - seen)
    return seen


def _direct(name: str) -> set[str]:
    """Return the modules that a module refers to, and the packages above it."""
    parts = name.split(".")
    found = {".".join(parts[:i]) for i in range(1, len(parts))}
    for attribute, value in list(vars(sys.modules[name]).items()):
        own = "__name__" if isinstance(value, ModuleType) else "__module__"
        target = getattr(value, own, None)
        # A package has each submodule that anyone has imported as an attribute; that is no reference.
        if isinstance(target, str) and target != f"{name}.{attribute}":
            found.add(target)
    return {t for t in found if t in sys.modules and t.partition(".")[0] not in _STANDARD}
