"""What the ledger remembers of one connection (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from zocalo_daemon.brokers.base import Outcome, Publication, Settlement

PASSING = ("full", "failed")  # codes of Refused after which trying again makes sense


@dataclass(slots=True, frozen=True)
class Unit:
    """A transaction that may go to the broker now."""

    token: int
    publications: Sequence[Publication]
    settlements: Sequence[Settlement]


@dataclass(slots=True)
class Step:
    """Settlements that go together, or a unit, with the last publication before it."""

    barrier: int
    tags: list[int]
    outcome: Outcome
    reason: str = ""
    unit: Unit | None = None
    refused: bool = False

    def refuse(self, code: str, reason: str) -> None:
        """Something that was sent before it was refused: what it accepts is rejected, or delivered again."""
        if self.outcome is not Outcome.ACCEPT or self.refused:
            return  # it goes back, or to the dead letters, anyway
        self.refused = True
        self.outcome, self.reason = (
            (Outcome.REQUEUE, reason) if code in PASSING else (Outcome.REJECT, f"{code}: {reason}")
        )


@dataclass(slots=True)
class Account:
    """One connection."""

    held: dict[int, tuple[int, int]] = field(default_factory=dict)  # delivery: (consumer, tag), oldest first
    unconfirmed: dict[int, None] = field(default_factory=dict)  # tokens, in order
    steps: deque[Step] = field(default_factory=deque)  # behind the barrier; ordered: called, not yet certain
    refusal: tuple[str, str] | None = None  # for the next settlement
    gone: bool = False

    def last(self) -> int:
        """Return the token of the youngest publication that is not confirmed, 0 without any."""
        return next(reversed(self.unconfirmed), 0)

    def is_clear(self, step: Step) -> bool:
        """Say whether everything that was sent before a step is confirmed."""
        first = next(iter(self.unconfirmed), None)
        return first is None or first > step.barrier
