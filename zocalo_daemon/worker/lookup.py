"""Which class a service is: ours, an entry point of workflows.services, or "package.module:Class"."""

from __future__ import annotations

import difflib
import importlib
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import workflows
from workflows.services.common_service import CommonService

from zocalo_daemon.errors import ConfigError

GROUP = "workflows.services"
# Ours are no entry points: zocalo has these names too, and of two `zocalo.service -s NAME` would run either,
# by chance. To install the daemon must not change what zocalo does.
OWN = {
    "Dispatcher": "zocalo_daemon.services.dispatcher:Dispatcher",
    "JSONLines": "zocalo_daemon.services.jsonlines:JSONLines",
    "Mailer": "zocalo_daemon.services.mailer:Mailer",
    "Quarantine": "zocalo_daemon.services.quarantine:Quarantine",
    "Schlockmeister": "zocalo_daemon.services.quarantine:Quarantine",  # what zocalo calls it
}
# Code that stands between a service and what it has asked for.
_BETWEEN = tuple(f"{Path(str(one)).parent}/" for one in (__file__, workflows.__file__))
_MAX_ERROR = 400  # characters of a line; the errors of all services share one message


def installed() -> dict[str, str]:
    """Return every entry point of the group: name to "module:Class"."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def hidden(spec: str, points: dict[str, str]) -> list[str]:
    """Return a line if one of our services is meant by a name that another package has too.

    Args:
        spec: of a class that `load` has found.
        points: what `installed` returned.
    """
    name = "" if ":" in spec else match(spec, [*{**points, **OWN}])
    theirs = points.get(name)
    if name not in OWN or theirs in (None, OWN[name]):
        return []
    return [f"class {spec} is {OWN[name]}, and not {theirs} of the same name; write either in full"]


def match(name: str, names: list[str]) -> str:
    """Return the entry point that `name` means: exactly, in other case, or as the start of only one.

    Raises:
        ConfigError: none fits, or several do.
    """
    if name in names:
        return name
    low = name.lower()
    for fits in ([n for n in names if n.lower() == low], [n for n in names if n.lower().startswith(low)]):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ConfigError(
                f"{name!r} could be any of {', '.join(sorted(fits))}; write one of them in full"
            )
    raise ConfigError(
        f"no service class {name!r} among ours and the entry points {GROUP} of {sys.executable}"
        f"{suggestion(name, names)}; package.module:Class works as well"
    )


def suggestion(name: str, names: list[str]) -> str:
    """Return "; did you mean …?" with the nearest of `names`, or nothing."""
    by_low = {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), list(by_low), n=1)
    return f"; did you mean {by_low[near[0]]!r}?" if near else ""


def load(spec: str, points: dict[str, str]) -> type[Any]:
    """Import and return a service class.

    Args:
        spec: name, or "package.module:Class". Of two with the same name, ours is meant.
        points: what `installed` returned.

    Raises:
        ConfigError: there is no such class, its module does not import, or it is no CommonService.
    """
    known = {**points, **OWN}
    target = spec if ":" in spec else known[match(spec, list(known))]
    module_name, _, attribute = target.partition(":")
    attribute = attribute.split("[")[0].strip()  # extras of an entry point
    module = import_module(module_name.strip())
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            classes = [n for n, v in vars(module).items() if isinstance(v, type)]
            raise ConfigError(
                f"module {module_name} has no class {attribute!r}{suggestion(attribute, classes)}"
            )
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, CommonService)):
        raise ConfigError(f"{target} is no subclass of workflows.services.common_service.CommonService")
    return found


def import_module(name: str) -> Any:
    """Import a module whatever it does while it is imported, short of ending the process for real.

    Raises:
        ConfigError: one line with the exception and its place.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as e:  # a module that calls sys.exit must not end the forkserver
        if isinstance(e, ModuleNotFoundError) and e.name and (name + ".").startswith(e.name + "."):
            raise ConfigError(
                f"no module {e.name!r} in {sys.executable}; install it there, or add its directory to "
                "python_path of the runtime"
            ) from None
        raise ConfigError(f"importing {name} failed: {describe(e)}") from None


def describe(e: BaseException) -> str:
    """Return an exception and its place in one bounded line: "ValueError: text (file.py:12 in name)".

    The place is the service's own where a call of its transport has failed.
    """
    try:
        text = " ".join(str(e).split())
    except Exception:  # an exception class of a service whose __str__ is broken
        text = "no text"
    frames = traceback.extract_tb(e.__traceback__)
    found = [frame for frame in frames if not frame.filename.startswith(_BETWEEN)] or frames
    place = f" ({found[-1].filename}:{found[-1].lineno} in {found[-1].name})" if found else ""
    head = f"{type(e).__name__}: {text}" if text else type(e).__name__
    return head[: max(80, _MAX_ERROR - len(place))] + place
