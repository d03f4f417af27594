"""Feeds systemd's watchdog, as long as the loop goes round and every relay answers.

A relay that does not answer is replaced, which its workers survive. systemd ends the daemon, and
starts another one, only if that does not help, or if the loop itself stands still.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.supervision.loop import Loop
from zocalo_daemon.supervision.relay import Relay

# Rounds within the limit: a relay is asked in one, killed in the next, and its successor has a third.
ROUNDS = 3
ASKED, KILLED = 1, 2  # rounds since a relay was asked; any more, and it has survived


class Host(Protocol):
    """What is watched."""

    state: str
    loop: Loop
    relays: list[Relay]

    def say(self, level: int, text: str) -> None:
        """Log one line of the daemon's own."""


class Watchdog:
    """Goes its rounds from the first turn of the loop on.

    Args:
        limit: seconds without food after which systemd acts.
        feed: tells it that all is well.
    """

    def __init__(self, host: Host, limit: float, feed: Callable[[], object]) -> None:
        self._host, self._feed = host, feed
        self._interval = limit / ROUNDS
        self._waiting: dict[int, int] = {}  # rounds since a relay was asked that has not answered, by its pid
        host.loop.after(0.0, self._round)

    def _round(self) -> None:
        host = self._host
        host.loop.after(self._interval, self._round)
        serving = {relay.pid: relay for relay in host.relays if relay.pid and relay.state == "ready"}
        if host.state != "running":
            serving = {}  # relays end with the daemon, and it is systemd's to say how long that may take
        self._waiting = another_round(self._waiting, serving)
        for pid, rounds in list(self._waiting.items()):
            if rounds == ASKED:
                self._ask(serving[pid], pid)
            elif rounds == KILLED:
                host.say(40, f"{serving[pid].name} has not answered for {self._interval:g} s, and is killed")
                serving[pid].kill()
        self._feed_if_well()

    def _ask(self, relay: Relay, pid: int) -> None:
        def answered(_value: Any, _error: ZocaloError | None) -> None:
            if self._waiting.get(pid) == ASKED:
                del self._waiting[pid]
                self._feed_if_well()

        with contextlib.suppress(ZocaloError):  # too many requests wait for it already
            relay.request("ping", {}, answered, again=False)

    def _feed_if_well(self) -> None:
        if all(rounds == KILLED for rounds in self._waiting.values()):
            self._feed()


def another_round(waiting: Mapping[int, int], serving: Iterable[int]) -> dict[int, int]:
    """Return how many rounds each relay that serves has been asked for, with the one that begins (pure)."""
    return {pid: waiting.get(pid, 0) + 1 for pid in serving}
