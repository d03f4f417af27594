"""Which host of a broker to try next, and when (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

FIRST_DELAY = 0.2  # seconds before the hosts are tried once more; doubles with every round
LAST_DELAY = 15.0  # seconds


class Hosts:
    """The hosts of a transport, in an order of their own for every daemon.

    Args:
        hosts: HOST:PORT.
        chance: returns a number from 0 to 1; it shuffles the hosts and spreads the delays, so that a
            broker that comes back is not met by everybody at once.
    """

    def __init__(self, hosts: Sequence[str], chance: Callable[[], float]) -> None:
        self._hosts = sorted(hosts, key=lambda _: chance())
        self._chance = chance
        self._next = 0
        self._tried = 0  # since the last connection

    def connected(self) -> None:
        """The host that was tried last answers: it comes first from now on."""
        self._next = (self._next - 1) % len(self._hosts)
        self._tried = 0

    def next(self) -> tuple[str, float]:
        """Return a host, and the seconds to wait before it is tried."""
        rounds, place = divmod(self._tried, len(self._hosts))
        delay = 0.0
        if rounds and not place:
            longest = min(LAST_DELAY, FIRST_DELAY * 2 ** min(rounds - 1, 30))
            delay = longest * (0.5 + 0.5 * self._chance())
        host = self._hosts[self._next]
        self._next = (self._next + 1) % len(self._hosts)
        self._tried += 1
        return host, delay
