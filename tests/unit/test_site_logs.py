"""The plugin `logging`: what its handlers and filters get of a service's records."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from logging.config import BaseConfigurator
from typing import Any

import pytest

from zocalo_daemon.site import logs
from zocalo_daemon.site.configuration import Configuration
from zocalo_daemon.site.logs import BASE, DowngradeFilter, below_base

ME = "tests.unit.test_site_logs"


class Taken(logging.Handler):
    """Keeps what it gets, of all handlers together, under its own name."""

    taken: list[tuple[str, str, int]] = []  # noqa: RUF012 - emptied before each test

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.called = name

    def emit(self, record: logging.LogRecord) -> None:
        self.taken.append((self.called, record.getMessage(), record.levelno))


class Refuse(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "no" not in record.getMessage()


def forget() -> None:
    known = logging.Logger.manager.loggerDict
    for name in [name for name in known if name == BASE or name.startswith(f"{BASE}.")]:
        del known[name]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Put the loggers back as they were."""
    handlers, Taken.taken[:] = list(logging.getLogger().handlers), []
    forget()
    yield
    forget()
    logging.getLogger().handlers[:] = handlers


def site(*configurations: dict[str, Any]) -> Configuration:
    """Activate logging configurations, as the forkserver does, and attach them, as a worker does."""
    entries = {f"l{n}": {"plugin": "logging", **one} for n, one in enumerate(configurations)}
    config = Configuration({"x": list(entries)}, entries)
    config.activate_environment("x")
    assert Taken.taken == []
    config.logging.attach()
    return config


def say(text: str, level: int = logging.INFO, name: str = "site.a") -> list[tuple[str, str, int]]:
    """Return what the handlers get of one record."""
    Taken.taken.clear()
    logs.handle(logging.LogRecord(name, level, "f.py", 1, text, (), None))
    return Taken.taken[:]


def handler(name: str, **more: Any) -> dict[str, Any]:
    return {"()": f"{ME}.Taken", "name": name, **more}


def test_handlers_get_every_record_from_their_level_on() -> None:
    site({"handlers": {"h": {**handler("h"), "level": "WARNING"}}, "root": {"handlers": ["h"]}})
    assert say("a") == []
    assert say("b", 30) == [("h", "b", 30)]
    assert say("c", 30, "root") == [("h", "c", 30)]


def test_loggers_filters_and_propagate() -> None:
    site(
        {
            "filters": {"no": {"()": f"{ME}.Refuse"}},
            "handlers": {"all": handler("all"), "own": handler("own", filters=["no"])},
            "root": {"handlers": ["all"]},
            "loggers": {
                "site": {"handlers": ["own"]},
                "alone": {"handlers": ["own"], "propagate": False, "filters": ["no"]},
            },
        }
    )
    assert say("yes") == [("own", "yes", 20), ("all", "yes", 20)]
    assert say("no") == [("all", "no", 20)]
    assert say("yes", name="alone") == [("own", "yes", 20)]
    assert say("no", name="alone") == []
    assert logging.getLogger("alone").propagate is True  # towards the daemon's log


def test_nothing_comes_back_to_the_root_logger() -> None:
    logging.getLogger().addHandler(Taken("root"))
    site({"handlers": {"h": handler("h")}, "loggers": {"site": {"handlers": ["h"]}}})
    assert say("a") == [("h", "a", 20)]
    assert say("a", name="other") == []


def test_a_later_configuration_replaces_what_it_names() -> None:
    site(
        {"handlers": {"h": handler("one")}, "root": {"handlers": ["h"]}},
        {"handlers": {"h": handler("two")}, "root": {"handlers": ["h"]}},
        {"loggers": {"site": {"level": "DEBUG"}}},
    )
    assert say("a") == [("two", "a", 20)]


def test_a_verbose_level_may_have_handlers_of_its_own() -> None:
    step = {"incremental": False, "handlers": {"h": handler("v")}, "root": {"handlers": ["h"]}}
    config = site({"handlers": {"h": handler("h")}, "root": {"handlers": ["h"]}, "verbose": [step]})
    assert say("a") == [("h", "a", 20)]
    config.logging.verbosity = 1
    assert say("a") == [("v", "a", 20)]


@pytest.mark.parametrize(("level", "passed"), [(10, 10), (20, 20), (25, 20), (40, 20), (50, 50)])
def test_downgrade_filter_under_its_name_of_zocalo(level: int, passed: int) -> None:
    lower = {"()": "zocalo.configuration.plugin_logging.DowngradeFilter", "reduce_to": "INFO"}
    site(
        {
            "filters": {"lower": lower},
            "handlers": {"h": handler("h", filters=["lower"])},
            "root": {"handlers": ["h"]},
        }
    )
    assert say("a", level) == [("h", "a", passed)]


@pytest.mark.parametrize("levels", [("ERROR", "ERROR"), ("ERROR", "INFO"), ("NONE", "ERROR")], ids=str)
def test_downgrade_filter_with_levels_that_make_no_sense(levels: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="must be a level below"):
        DowngradeFilter(levels[0], only_below=levels[1])


def test_graylog_handlers_of_zocalo_are_ours() -> None:
    names = {p: {"()": f"zocalo.configuration.plugin_logging.Graylog{p}Handler"} for p in ("UDP", "TCP")}
    made = below_base({"handlers": names})["handlers"]
    factories = [BaseConfigurator({}).resolve(made[p]["()"]) for p in names]
    assert [str(factory(host="h", port=5)) for factory in factories] == [
        "<GraylogHandler UDP h:5>",
        "<GraylogHandler TCP h:5>",
    ]


def test_what_cannot_be_imported_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    site({"handlers": {"h": {"class": "no.such.Handler"}}, "root": {"handlers": ["h"], "level": "ERROR"}})
    assert "handler 'h': no.such.Handler cannot be had (No module named 'no')" in caplog.text
    assert not logs.in_use()


def test_what_cannot_be_made_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"()": f"{ME}.Taken", "nonsense": 1}
    site({"handlers": {"h": bad}, "root": {"handlers": ["h"]}})
    (line,) = capsys.readouterr().err.splitlines()
    assert "Unable to configure handler 'h'" in line and "its handlers are left out" in line


def test_consoles_are_left_out() -> None:
    console = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
    site({"handlers": {"c": console, "h": handler("h")}, "root": {"handlers": ["c", "h"]}})
    assert [type(handler) for handler in logging.getLogger(BASE).handlers] == [Taken]


def test_handlers_that_plugins_hang_on_the_root_logger_outlive_all() -> None:
    """The plugin graylog does so, as do plugins of third parties."""
    config = Configuration(
        {"x": ["g"]}, {"g": {"plugin": "graylog", "protocol": "UDP", "host": "h", "port": 1}}
    )
    before = list(logging.getLogger().handlers)
    config.activate_environment("x")
    assert logging.getLogger().handlers == before
    with logs.kept():
        logging.getLogger(BASE).handlers.clear()  # as CommonService does
    assert logging.getLogger(BASE).handlers == [config.graylog]
    config = site({"handlers": {"h": handler("h")}, "root": {"handlers": ["h"]}})
    assert len(logging.getLogger(BASE).handlers) == 2


def test_incremental_configurations_have_levels_alone() -> None:
    site({"incremental": True, "root": {"level": "WARNING"}, "loggers": {"site.b": {"level": "ERROR"}}})
    assert not logs.in_use()
    assert logging.getLogger("site.b").level == logging.ERROR
