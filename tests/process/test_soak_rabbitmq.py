"""Nothing is lost when RabbitMQ dies, again and again."""

import pytest

from tests.brokers.rabbit import RabbitServer, require_server
from tests.brokersoak import soak
from tests.soakkit import QUEUES


@pytest.mark.timeout(600)
def test_deaths_of_rabbitmq_lose_nothing(tmp_path):
    require_server()
    (tmp_path / "broker").mkdir()
    broker = RabbitServer(tmp_path / "broker")
    try:
        with broker.channel() as channel:
            for name in QUEUES:
                channel.queue_declare(name, durable=True)
        soak(broker, tmp_path)
    finally:
        broker.close()
