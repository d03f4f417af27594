"""Limits against what the configuration needs, and whether workers have control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zocalo_daemon.config import budget, limits
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.doctor.findings import Finding, ok, warning
from zocalo_daemon.doctor.situation import Situation
from zocalo_daemon.values import replace


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
    told = situation.status.get("daemon", {}).get("control_groups")
    if told:
        yield from control_groups(told, situation.config)


def control_groups(told: dict[str, Any], config: DaemonConfig) -> Iterator[Finding]:
    """Yield what workers lack without them; `told` is `control_groups` of the status document."""
    do = "Delegate=yes in the unit of zocalod"
    if not told["path"]:
        text = (
            f"workers have none ({told['reason']}): what a service hides well enough may outlive its worker"
        )
        yield warning("control groups", "", text, do)
    for service in config.services.values():
        if service.limits.cpu is not None and "cpu" not in told["limits"]:
            yield warning("control groups", f"{service.name}.limits.cpu", f"no effect: {told['reason']}", do)
    if told["path"]:
        by = " and ".join(told["limits"]) or "none"
        yield ok(
            "control groups",
            told["path"],
            f"one for each worker, version {told['version']}; limits by them: {by}",
        )


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
