"""Nothing is lost when ActiveMQ dies, again and again."""

import pytest

from tests.brokers.activemq import ActiveServer, require_server
from tests.brokersoak import soak


@pytest.mark.timeout(600)
def test_deaths_of_activemq_lose_nothing(tmp_path):
    require_server()
    (tmp_path / "broker").mkdir()
    broker = ActiveServer(tmp_path / "broker")
    try:
        soak(broker, tmp_path)
    finally:
        broker.close()
