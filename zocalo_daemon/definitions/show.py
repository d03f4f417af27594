"""A plan for people, line by line, and for scripts (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zocalo_daemon.definitions.plan import Change, Plan


def line(change: Change) -> str:
    """Return a change as one line."""
    details = f": {', '.join(change.details)}" if change.details else ""
    return f"{change.action} {change.item.label}{details}"


def total(planned: int, made: int, dry: bool) -> str:
    """Return the last line: how much there was to change, and how much was changed."""
    if not planned:
        return "nothing to change"
    changes = "1 change" if (planned if dry else made) == 1 else f"{planned if dry else made} changes"
    return f"{changes} to make, nothing was done" if dry else f"{changes} made"


def document(plan: Plan, made: Sequence[Change], dry: bool) -> dict[str, Any]:
    """Return a plan as JSON has it; `made` are the changes that were carried out."""
    return {
        "dry_run": dry,
        "changes": [
            {
                "action": one.action,
                "kind": one.item.kind,
                "vhost": one.item.vhost,
                "name": one.item.name,
                "details": list(one.details),
                "done": one in made,
            }
            for one in plan.changes
        ],
        "kept": plan.kept,
        "problems": plan.problems,
    }
