"""What the relay reports of its transports."""

from types import SimpleNamespace

from zocalo_daemon.brokers.base import BrokerStatus
from zocalo_daemon.relay.figures import Figures


class FakeMember:
    """A transport in the state that the test wants."""

    name = "rabbit"

    def __init__(self) -> None:
        self.state = BrokerStatus("connecting", "mq:5672", "refused", next_attempt=12.0)
        self.broker = SimpleNamespace(driver="rabbitmq")
        self.spool = SimpleNamespace(figures=lambda: {"spooled": 2})
        self.ledger = SimpleNamespace(unsettled=3)
        self.sessions: dict = {}

    def status(self) -> BrokerStatus:
        return self.state


def test_a_transport_says_since_when_it_is_in_its_state():
    figures, member = Figures(), FakeMember()
    (told,) = figures.look([], [member], 100.0)["transports"]
    assert (told["state"], told["since"], told["next_attempt"], told["unsettled"]) == (
        "connecting", 100.0, 12.0, 3
    )  # fmt: skip
    assert told["spooled"] == 2
    member.state = BrokerStatus("connecting", "other:5672", "refused", next_attempt=15.0)
    assert figures.look([], [member], 103.0)["transports"][0]["since"] == 100.0
    member.state = BrokerStatus("connected", "other:5672")
    assert figures.look([], [member], 104.0)["transports"][0]["since"] == 104.0


def test_connections_of_one_worker_count_together():
    sub = SimpleNamespace(window=SimpleNamespace(closed=False))
    one = SimpleNamespace(pid=7, worker="a/0", processed=2, turns=5, held=1, consumers={1: sub})
    other = SimpleNamespace(pid=7, worker="a/0", processed=3, turns=1, held=0, consumers={})
    workers = Figures().look([one, other], [], 0.0)["workers"]
    assert workers == {"7": {"worker": "a/0", "processed": 5, "in_flight": 1, "subscriptions": 1, "turns": 6}}
