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
        self._tried = 0  # since a connection has lasted

    def connected(self) -> None:
        """The host that was tried last answers: it comes first from now on."""
        self._next = (self._next - 1) % len(self._hosts)

    def steady(self) -> None:
        """The connection lasts: the next attempt need not wait.

        A broker that takes connections only to end them is not asked without end.
        """
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


class Troubles:
    """What is wrong with the hosts of a transport: said when it changes, not at each attempt."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def note(self, host: str, reason: str) -> bool:
        """Note why a host does not serve; return whether that is news."""
        if self._known.get(host) == reason:
            return False
        self._known[host] = reason
        return True

    def clear(self) -> bool:
        """A host serves; return whether that is news."""
        known, self._known = self._known, {}
        return bool(known)

    def line(self) -> str:
        """Return all of it in one line; with several hosts each is named."""
        if len(self._known) < 2:
            return next(iter(self._known.values()), "")
        return "; ".join(f"{host}: {reason}" for host, reason in sorted(self._known.items()))
