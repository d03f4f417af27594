"""What a check has found, and lists of it: order, text and JSON (pure)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zocalo_daemon.client.table import clean, paint


class Level(enum.StrEnum):
    """How bad it is; a problem is what keeps something from working."""

    PROBLEM = "problem"
    WARNING = "warning"
    OK = "ok"


_ORDER = list(Level)
_COLOURS = {Level.PROBLEM: "red", Level.WARNING: "yellow", Level.OK: "green"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Args:
        what: the part that was looked at, one or two words.
        where: path, service, host; "" if `what` says it.
        text: what was found there.
        do: a command to type, or what to do in words; "" if nothing is to be done.
    """

    level: Level
    what: str
    where: str
    text: str
    do: str = ""


def ok(what: str, where: object, text: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Level.OK, what, str(where), text)


def warning(what: str, where: object, text: str, do: str = "") -> Finding:
    """Return what works, and should not stay so."""
    return Finding(Level.WARNING, what, str(where), text, do)


def problem(what: str, where: object, text: str, do: str = "") -> Finding:
    """Return what keeps something from working."""
    return Finding(Level.PROBLEM, what, str(where), text, do)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the worst first; of equal ones, the order in which they were found; none twice."""
    return sorted(dict.fromkeys(findings), key=lambda finding: _ORDER.index(finding.level))


def installing(package: str, interpreter: str, has_pip: bool) -> str:
    """Return what brings a package into the daemon's environment; that of a deb or rpm has no pip."""
    if has_pip:
        return f"{interpreter} -m pip install {package}"
    return "install zocalo-daemon again, as it was installed: a part of its own environment is missing"


def healthy(findings: Iterable[Finding]) -> bool:
    """Tell whether there is no problem."""
    return not any(finding.level is Level.PROBLEM for finding in findings)


def lines(findings: Sequence[Finding], colour: bool) -> list[str]:
    """Return one line for each finding, and their numbers in the last one.

    A line is not cut or broken, so that a command in it can be copied.
    """
    size = max((len(finding.what) for finding in findings), default=0)
    shown = [_line(finding, size, colour) for finding in in_order(findings)]
    return [*shown, _count(findings)]


def _line(finding: Finding, size: int, colour: bool) -> str:
    level = paint(finding.level, _COLOURS[finding.level]) if colour else str(finding.level)
    where = f"{clean(finding.where)}: " if finding.where else ""
    do = f"; do: {clean(finding.do)}" if finding.do else ""
    blank = " " * (len("problem") - len(finding.level))
    return f"{level}{blank}  {clean(finding.what):<{size}}  {where}{clean(finding.text)}{do}"


def _count(findings: Sequence[Finding]) -> str:
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    problems, warnings = counts[Level.PROBLEM], counts[Level.WARNING]
    return (
        f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}, "
        f"{counts[Level.OK]} ok"
    )


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "ok": healthy(findings),
        "findings": [{**asdict(finding), "level": str(finding.level)} for finding in in_order(findings)],
    }
