"""What the ledger remembers of one connection (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from zocalo_daemon.brokers.base import Outcome, Publication, Settlement

PASSING = ("full", "failed")  # codes of Refused after which trying again makes sense
_NEVER = 1 << 62  # a token that no publication gets


@dataclass(slots=True, frozen=True)
class Unit:
    """A transaction that may go to the broker now."""

    token: int
    publications: Sequence[Publication]
    settlements: Sequence[Settlement]


@dataclass(slots=True)
class Step:
    """Settlements that go together, with the last publication or unit before them."""

    barrier: int
    tags: list[int]
    outcome: Outcome
    reason: str = ""
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
    """One connection. Tokens go up, so that one tells what came before another."""

    held: dict[int, tuple[int, int]] = field(default_factory=dict)  # delivery: (consumer, tag), oldest first
    plain: dict[int, None] = field(default_factory=dict)  # publications that are not confirmed, in order
    units: dict[int, None] = field(default_factory=dict)  # the same of units, those that wait among them
    steps: deque[Step] = field(default_factory=deque)  # behind the barrier; ordered: called, not yet certain
    waiting: deque[tuple[int, Unit]] = field(default_factory=deque)  # units, each with its own barrier
    refusal: tuple[str, str] | None = None  # for the next settlement
    gone: bool = False

    @property
    def is_certain(self) -> bool:
        """Whether everything that it has sent and settled has come to its end."""
        return not (self.plain or self.units or self.steps)

    def last(self) -> int:
        """Return the token of the youngest publication that is not confirmed, 0 without any."""
        return next(reversed(self.plain), 0)

    def last_of_all(self) -> int:
        """Return the same of publications and units."""
        return max(self.last(), next(reversed(self.units), 0))

    def clear_steps(self) -> list[Step]:
        """Take out the settlements before which everything is confirmed."""
        first = min(next(iter(self.plain), _NEVER), next(iter(self.units), _NEVER))
        clear = []
        while self.steps and self.steps[0].barrier < first:
            clear.append(self.steps.popleft())
        return clear

    def clear_units(self) -> list[Unit]:
        """Take out the units before which every plain publication is confirmed."""
        first = next(iter(self.plain), _NEVER)
        clear = []
        while self.waiting and self.waiting[0][0] < first:
            clear.append(self.waiting.popleft()[1])
        return clear

    def blame(self, token: int) -> Step | Unit | None:
        """Return what a refused publication falls on: the first that settles something after it, if any.

        A unit is taken out of those that wait.
        """
        step = next((one for one in self.steps if one.barrier >= token), None)
        found = next((one for one in self.waiting if one[0] >= token and one[1].settlements), None)
        if found is None or (step is not None and step.barrier < found[1].token):
            return step
        self.waiting.remove(found)
        return found[1]
