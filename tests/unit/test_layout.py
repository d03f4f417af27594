import logging
from collections.abc import Iterator

import pytest

from zocalo_daemon.worker import layout


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back what others, pytest among them, have attached to loggers."""
    before = {name: logging.getLogger(name).handlers for name in (None, *logging.Logger.manager.loggerDict)}
    yield
    for name, those in before.items():
        logging.getLogger(name).handlers = those


@pytest.mark.usefixtures("handlers")
def test_loggers_keep_everything_but_their_handlers() -> None:
    first = logging.getLogger("layout.deep.first")
    first.setLevel(logging.ERROR)
    first.addHandler(logging.NullHandler())
    layout.gather_loggers()
    assert logging.getLogger("layout.deep.first") is first
    assert first.handlers == []
    assert not first.isEnabledFor(logging.WARNING)
    assert logging.getLogger("layout.deep").getChild("first") is first
    assert first.parent is logging.getLogger("layout.deep")
    assert logging.getLogger().handlers == []


@pytest.mark.usefixtures("handlers")
def test_the_containers_of_loggers_lie_together() -> None:
    loggers = [logging.getLogger(f"layout.{number}") for number in range(20)]
    filling = layout.fill_gaps()
    layout.gather_loggers()
    places = [id(one) for logger in loggers for one in (logger.handlers, logger._cache)]
    assert filling
    assert len({place // 4096 for place in places}) <= 16
