"""Transports that a reload has changed: each moves by itself, the others go on as if nothing had happened.

A member that is replaced delivers nothing more, and ends once nothing of it is in hand, or after DRAIN. Then
its sessions are closed, and come back at once to the member that has taken its place. There is never a
second member of the same name: both would have the same files, or the same exclusive queues. One that is
removed goes on meanwhile for LINGER, for workers that are about to be replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from zocalo_daemon.relay.member import Member
from zocalo_daemon.relay.pool import Pool

DRAIN = 3.0  # seconds for what is in hand to be settled
LINGER = 60.0  # seconds; a rolling restart takes its time


class Move(NamedTuple):
    """A member that is to end, at the latest at `until` (monotonic seconds), and the one that comes then."""

    until: float
    successor: Member | None


class Moves:
    """What is to be moved.

    Args:
        pool: the members, as `settings` has them.
        settings: of each transport.
        make: returns a member for settings, not yet open; raises ZocaloError.
    """

    def __init__(
        self,
        pool: Pool,
        settings: Sequence[Mapping[str, Any]],
        make: Callable[[Mapping[str, Any]], Member],
    ) -> None:
        self._pool, self._make = pool, make
        self._settings = {str(one["name"]): dict(one) for one in settings}
        self._moves: dict[str, Move] = {}
        self._watch: Callable[[Member], None]
        self._catch_up: Callable[[Member], None]
        self._dismiss: Callable[[Member], None]

    def attach(
        self,
        watch: Callable[[Member], None],
        catch_up: Callable[[Member], None],
        dismiss: Callable[[Member], None],
    ) -> None:
        """Have members watched once they are open, read from and dismissed before they close."""
        self._watch, self._catch_up, self._dismiss = watch, catch_up, dismiss

    def change(self, settings: Sequence[Mapping[str, Any]], default: str) -> None:
        """Have these transports, and no others, from now on.

        Raises:
            ZocaloError: one of them can never work; then nothing has changed.
        """
        wanted = {str(one["name"]): dict(one) for one in settings}
        changed = {name: one for name, one in wanted.items() if self._settings.get(name) != one}
        made = {name: self._make(one) for name, one in changed.items()}
        now = time.monotonic()
        for name, member in made.items():
            if name in self._pool:
                self._pool.get(name).drain()
                self._moves[name] = Move(now + DRAIN, member)
            else:
                self._open(member)
        for name in self._settings.keys() - wanted.keys():
            self._moves[name] = Move(now + LINGER, None)
        self._settings = wanted
        self._pool.set_default(default)

    def poll(self, now: float) -> None:
        """End what is to end by now."""
        for name, move in list(self._moves.items()):
            member = self._pool.get(name)
            if now >= move.until or (self._is_over(member) if move.successor else not member.sessions):
                del self._moves[name]
                self._end(member, now)
                if move.successor is not None:
                    self._open(move.successor)

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `poll` must be called again, or None."""
        return max(0.0, min(move.until for move in self._moves.values()) - now) if self._moves else None

    def _is_over(self, member: Member) -> bool:
        if not member.is_idle:
            return False
        # What has arrived is done here. What arrives later is not read, and so done by the successor alone.
        self._catch_up(member)
        return member.is_idle

    def _end(self, member: Member, now: float) -> None:
        self._dismiss(member)
        member.poll(now)  # what has gone back with the sessions
        self._pool.remove(member)
        member.close()

    def _open(self, member: Member) -> None:
        member.open()
        self._pool.add(member)
        self._watch(member)
