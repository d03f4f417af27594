"""Limits of descriptors, processes and memory, against what the configuration needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from zocalo_daemon.config import budget, limits
from zocalo_daemon.doctor.findings import Finding, ok, warning
from zocalo_daemon.doctor.situation import Situation


def check(situation: Situation) -> Iterator[Finding]:
    """Yield which limits are too low: those of the daemon that runs, else those of this shell."""
    if situation.config is None:
        return
    allowed, whose = limits.read(), "this shell"
    if situation.pid is not None:
        allowed, whose = _of_daemon(allowed, situation.pid)
    needs = budget.needs(situation.config, allowed)
    for need in needs:
        if need.is_exceeded:
            yield warning("limits", whose, str(need), need.remedy())
    if not any(need.is_exceeded for need in needs):
        yield ok("limits", whose, "suffice for all that is configured")


def _of_daemon(allowed: limits.Limits, pid: int) -> tuple[limits.Limits, str]:
    """Return the limits with the descriptors of a running daemon, if this user may know them, and whose."""
    try:
        most = hard_limit(Path(f"/proc/{pid}/limits").read_text(), "Max open files")
    except OSError:
        return allowed, "this shell"
    if most is None or allowed.descriptors is None:
        return replace(allowed, descriptors=None), f"zocalod, pid {pid}"
    return replace(allowed, descriptors=replace(allowed.descriptors, most=most)), f"zocalod, pid {pid}"


def hard_limit(text: str, name: str) -> int | None:
    """Return the hard limit of a line of /proc/PID/limits (proc(5)); None if there is none."""
    for line in text.splitlines():
        if line.startswith(name):
            word = line.removeprefix(name).split()[1]
            return int(word) if word.isdigit() else None
    return None
