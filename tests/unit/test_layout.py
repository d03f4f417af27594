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


@pytest.fixture
def pooled() -> Iterator[None]:
    """Have loggers made side by side, and end that whatever a test has done to it."""
    layout.pool_loggers()
    yield
    logging.Logger.manager.loggerClass = None
    layout._places.clear()


@pytest.mark.usefixtures("pooled")
def test_pooled_loggers_are_loggers_as_ever() -> None:
    loggers = [logging.getLogger(f"layout.pooled.{number}") for number in range(20)]
    assert {type(logger) for logger in loggers} == {logging.Logger}
    assert [logger.name for logger in loggers] == [f"layout.pooled.{number}" for number in range(20)]
    assert loggers[0].parent is logging.getLogger()


@pytest.mark.usefixtures("pooled")
def test_a_class_of_its_own_that_a_module_sets_for_loggers_is_used() -> None:
    class Own(logging.Logger):
        pass

    logging.setLoggerClass(Own)
    try:
        assert type(logging.getLogger("layout.own")) is Own
    finally:
        logging.setLoggerClass(logging.Logger)
    assert type(logging.getLogger("layout.plain")) is logging.Logger


@pytest.mark.usefixtures("handlers", "pooled")
def test_workers_make_their_own_loggers_as_ever() -> None:
    layout.gather_loggers()
    assert logging.Logger.manager.loggerClass is None
    layout._places.clear()
    assert type(logging.getLogger("layout.after")) is logging.Logger


@pytest.mark.usefixtures("pooled")
def test_more_loggers_than_places_are_made_as_ever() -> None:
    layout._places.clear()
    assert type(logging.getLogger("layout.more")) is logging.Logger


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
