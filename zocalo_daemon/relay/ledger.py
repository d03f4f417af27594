"""Who holds which delivery, and what must be safe before it is settled (pure).

The settlement barrier: what a connection settles takes effect only once everything that it sent before,
without waiting for a confirmation, is safe. Frames of one connection pass the barrier in their order:

    SEND (no wait)       publish()   the barrier rises
    ACK, NACK            settle()    passes when the publications before it are confirmed
    COMMIT               unit()      the same, and is itself a publication to settlements after it
    CONFIRMED, REFUSED   confirm(), refuse()

A unit does not wait for units before it: each answers for its own publications with its own deliveries. So
many can be on their way at once, and one may be confirmed before another that was sent earlier.

Which delivery does a refused message belong to? A worker with one delivery in hand sends for that one, and
settles it next. With several in hand nobody can tell, so the rule is simple: a refusal falls on the next
settlement of that connection, and on all deliveries of it. It is rejected with the reason, or delivered
again if the refusal is one that passes.

An `ordered` broker keeps the order of its calls and fails settlements together with the publications before
them (brokers/base.py), so nothing is held back; it reports SettlementFailed where the barrier would hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from zocalo_daemon.brokers.base import Outcome, Publication, Refused, Settlement
from zocalo_daemon.relay.accounts import PASSING, Account, Step, Unit

Action = Settlement | Unit | Refused  # Refused: a unit that the broker has never seen


class Ledger:
    """The deliveries of one broker.

    Args:
        numbers: of deliveries; they go up, and no other ledger of the relay has the same ones.
        ordered: as in Broker.
    """

    def __init__(self, numbers: Iterator[int], *, ordered: bool) -> None:
        self._numbers = numbers
        self._ordered = ordered
        self._accounts: dict[int, Account] = {}
        self._senders: dict[int, int] = {}  # token: connection, of publications that nobody waits for
        self._units: dict[int, Unit] = {}  # by token
        self._called: dict[int, tuple[int, Step]] = {}  # tag: (connection, step) since the last poll
        self._failed: dict[int, tuple[int, Step]] = {}
        self.unsettled = 0

    # -- Connections

    def open(self, connection: int) -> None:
        """Take in a connection."""
        self._accounts[connection] = Account()

    def drop(
        self, connection: int, gates: Mapping[int, int], begun: int | None = None, reason: str = ""
    ) -> list[Settlement]:
        """Forget a connection; what it holds goes back.

        Args:
            gates: for each consumer how many deliveries its service could have in hand. The oldest ones are
                forfeited, the others were only buffered.
            begun: the last delivery whose callback has begun, 0 for none; those behind it waited, too. None
                if that is not known.
            reason: why that delivery is rejected; "" if it is forfeited like others that had begun.
        """
        account = self._accounts[connection]
        account.gone = True
        latest = _latest_begun(account, gates, begun)
        left = dict(gates)
        actions = []
        for delivery, (consumer, tag) in account.held.items():
            in_hand = left.get(consumer, 0) > 0 and delivery <= latest.get(consumer, delivery)
            left[consumer] = left.get(consumer, 0) - 1
            if reason and delivery == begun:
                actions.append(Settlement(tag, Outcome.REJECT, reason))
            else:
                actions.append(Settlement(tag, Outcome.FORFEIT if in_hand else Outcome.RELEASE))
        self.unsettled -= len(account.held)
        account.held.clear()
        self._close(connection, account)
        return actions

    def holding(self, connection: int, delivery: int) -> tuple[int, int] | None:
        """Return consumer and tag of a delivery that a connection holds, or None."""
        return self._accounts[connection].held.get(delivery)

    def is_idle(self, connection: int) -> bool:
        """Say whether everything that a connection has sent and settled is certain."""
        account = self._accounts[connection]
        if not account.is_certain:
            return False
        open_ones = [*self._called.values(), *self._failed.values()]
        return all(owner != connection for owner, _ in open_ones)

    def _close(self, connection: int, account: Account) -> None:
        if account.gone and account.is_certain:
            self._accounts.pop(connection, None)

    # -- Deliveries

    def take(self, connection: int, consumer: int, tag: int) -> int:
        """Note that a connection gets a delivery; return its number."""
        delivery = next(self._numbers)
        self._accounts[connection].held[delivery] = (consumer, tag)
        self.unsettled += 1
        return delivery

    def number(self) -> int:
        """Return a number for a message that nobody settles."""
        return next(self._numbers)

    def held(self, connection: int) -> int:
        """Return how many deliveries a connection has."""
        return len(self._accounts[connection].held)

    def find(self, connection: int, consumer: int, delivery: int, multiple: bool) -> list[int]:
        """Return the deliveries of a consumer that a settlement covers; none if it comes too late."""
        held = self._accounts[connection].held
        if not multiple:
            one = held.get(delivery)
            return [delivery] if one is not None and one[0] == consumer else []
        return [d for d, (owner, _) in held.items() if owner == consumer and d <= delivery]

    # -- Frames of a connection

    def publish(self, connection: int, token: int) -> None:
        """Note a publication that nobody waits for."""
        self._accounts[connection].plain[token] = None
        self._senders[token] = connection

    def settle(
        self, connection: int, deliveries: Iterable[int], outcome: Outcome, reason: str = ""
    ) -> list[Action]:
        """Settle deliveries that the connection holds; return what may be done now."""
        account = self._accounts[connection]
        tags = [account.held.pop(delivery)[1] for delivery in deliveries]
        self.unsettled -= len(tags)
        if outcome is Outcome.RELEASE:  # nobody looked at it, so nothing was sent for it
            return [Settlement(tag, outcome) for tag in tags]
        step = Step(account.last_of_all(), tags, outcome, reason)
        if account.refusal is not None:
            step.refuse(*account.refusal)
            account.refusal = None
        if not self._ordered:
            account.steps.append(step)
            return self._advance(connection, account)
        if account.plain or account.units:
            account.steps.append(step)
        return self._issue(connection, step)

    def unit(
        self,
        connection: int,
        token: int,
        publications: Sequence[Publication],
        settlements: Sequence[tuple[int, Outcome]],
    ) -> list[Action]:
        """Take a transaction: publications, and deliveries with their outcomes."""
        account = self._accounts[connection]
        tags = [(account.held.pop(delivery)[1], outcome) for delivery, outcome in settlements]
        self.unsettled -= len(tags)
        unit = Unit(token, publications, [Settlement(tag, outcome) for tag, outcome in tags])
        if account.refusal is not None and tags:
            refusal, account.refusal = account.refusal, None
            return _undone(unit, *refusal)
        account.units[token] = None
        self._senders[token] = connection
        self._units[token] = unit
        if self._ordered:
            return [unit]
        account.waiting.append((account.last(), unit))
        return self._advance(connection, account)

    # -- What the broker says

    def confirm(self, token: int) -> list[Action]:
        """A publication or unit is safe."""
        self._units.pop(token, None)
        connection = self._senders.pop(token, None)
        return [] if connection is None else self._resolve(connection, token)

    def refuse(self, token: int, code: str, reason: str) -> list[Action]:
        """A publication or unit did not happen."""
        connection = self._senders.pop(token, None)
        if connection is None:
            return []
        account = self._accounts[connection]
        unit = self._units.pop(token, None)
        if unit is not None:
            return [*_rejected(unit, code, reason), *self._resolve(connection, token)]
        blamed = account.blame(token)
        actions: list[Action] = []
        if isinstance(blamed, Unit):
            actions = _undone(blamed, code, reason)
            del self._units[blamed.token], self._senders[blamed.token], account.units[blamed.token]
        elif blamed is not None:
            blamed.refuse(code, reason)
        elif not account.gone:
            account.refusal = (code, reason)
        return actions + self._resolve(connection, token)

    def fail(self, tag: int) -> None:
        """A settlement did not happen: `retry` makes it again."""
        # Unknown means that it was called long ago: to deliver once more is safe, to accept is not.
        unknown = (0, Step(0, [tag], Outcome.RELEASE))
        self._failed[tag] = self._called.pop(tag, unknown)

    def polled(self) -> None:
        """Everything that was called before has either been reported as failed, or holds."""
        self._called.clear()
        if self._ordered:
            for connection, account in list(self._accounts.items()):
                # They were called already; they were kept to learn of refusals before them.
                account.clear_steps()
                self._close(connection, account)

    def retry(self) -> list[Settlement]:
        """Return the settlements that failed, once more."""
        failed, self._failed = self._failed, {}
        self._called.update(failed)
        return [Settlement(tag, step.outcome, step.reason) for tag, (_, step) in failed.items()]

    @property
    def has_failed(self) -> bool:
        """Whether there is something to retry."""
        return bool(self._failed)

    # -- The barrier

    def _resolve(self, connection: int, token: int) -> list[Action]:
        account = self._accounts[connection]
        account.plain.pop(token, None)
        account.units.pop(token, None)
        if self._ordered:
            return []
        actions = self._advance(connection, account)
        self._close(connection, account)
        return actions

    def _advance(self, connection: int, account: Account) -> list[Action]:
        actions: list[Action] = []
        # What settles after a unit that waits here waits for it, so these came first.
        for step in account.clear_steps():
            actions += self._issue(connection, step)
        return actions + account.clear_units()

    def _issue(self, connection: int, step: Step) -> list[Action]:
        for tag in step.tags:
            self._called[tag] = (connection, step)
        return [Settlement(tag, step.outcome, step.reason) for tag in step.tags]


def _rejected(unit: Unit, code: str, reason: str) -> list[Action]:
    outcome = Outcome.REQUEUE if code in PASSING else Outcome.REJECT
    return [Settlement(one.tag, outcome, reason) for one in unit.settlements]


def _undone(unit: Unit, code: str, reason: str) -> list[Action]:
    """Return what becomes of a unit that does not even start, because of something sent before it."""
    return [*_rejected(unit, code, reason), Refused(unit.token, code, reason)]


def _latest_begun(account: Account, gates: Mapping[int, int], begun: int | None) -> dict[int, int]:
    """Return for each consumer the last delivery whose callback can have begun, as far as that is known.

    Callbacks begin in the order of deliveries, but each subscription has an order of its own.
    """
    if begun is None:
        return {}
    if begun in account.held:
        return {account.held[begun][0]: begun}
    return dict.fromkeys(gates, begun) if begun == 0 or len(gates) == 1 else {}
