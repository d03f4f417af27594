"""The configuration object that services see."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site import plugins
from zocalo_daemon.site.configuration import Configuration

PLAIN = {
    "environments": {"live": ["base", "more"], "test": ["base"], "lazy": ["file"]},
    "configurations": {
        "base": {"plugin": "storage", "a": 1, "b": 1},
        "more": {"plugin": "storage", "b": 2},
        "file": "/nowhere/file.yaml",
    },
    "active": ["live"],
}


def test_the_chosen_environment_is_activated_and_later_storage_counts() -> None:
    config = Configuration.from_plain(PLAIN)
    assert config.storage is None
    assert config.activate() == ("live",)
    assert config.storage == {"plugin": "storage", "a": 1, "b": 2}
    assert config.active_environments == ("live",)
    assert config.environments == {"live", "test", "lazy"}


def test_the_plain_data_stays_as_it_was() -> None:
    config = Configuration.from_plain(PLAIN)
    config.activate()
    config.storage["a"] = 99
    assert PLAIN["configurations"]["base"]["a"] == 1


def test_nothing_is_active_without_a_site() -> None:
    config = Configuration.from_plain(None)
    assert config.activate() == ()
    assert config.storage is None
    assert config._opentelemetry is None


def test_names_that_are_not_known_are_no_attributes() -> None:
    config = Configuration.from_plain(PLAIN)
    assert config.graylog is None
    for name in ("nonsense", "__deepcopy__", "_nonsense"):
        assert not hasattr(config, name)


def test_an_undefined_environment_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'nothing' is not defined"):
        Configuration.from_plain(PLAIN).activate(["nothing"])


def test_a_file_is_read_when_its_environment_is_activated(tmp_path: Any) -> None:
    path = tmp_path / "s.yaml"
    data = {"environments": {"x": ["s"]}, "configurations": {"s": str(path)}}
    config = Configuration.from_plain(data)
    path.write_text("plugin: storage\nkey: value\n")
    config.activate_environment("x")
    assert config.storage["key"] == "value"


@pytest.mark.parametrize(
    "text", [None, "a: [", "[]", "key: value", "plugin: [1]"], ids=["absent", "yaml", "list", "none", "odd"]
)
def test_a_bad_file_is_one_clear_line(tmp_path: Any, text: str | None) -> None:
    path = tmp_path / "s.yaml"
    if text is not None:
        path.write_text(text)
    config = Configuration(environments={"x": ["s"]}, configurations={"s": str(path)})
    with pytest.raises(ConfigError, match=r"s\.yaml"):
        config.activate_environment("x")


def third_party(monkeypatch: pytest.MonkeyPatch, activate: Any) -> Configuration:
    point = SimpleNamespace(name="mine", load=lambda: SimpleNamespace(activate=activate))
    monkeypatch.setattr(plugins, "registered", lambda: {"mine": point})
    return Configuration({"x": ["m"]}, {"m": {"plugin": "mine", "k": 1}})


def test_a_plugin_of_the_site_gets_what_its_signature_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    config = third_party(monkeypatch, lambda configuration: configuration["k"])
    assert config.mine is None
    config.activate_environment("x")
    assert config.mine == 1
    for activate in (lambda config_object: config_object, lambda **all: all["config_object"]):
        config = third_party(monkeypatch, activate)
        config.activate_environment("x")
        assert config.mine is config
    config = third_party(monkeypatch, lambda: "none")
    config.activate_environment("x")
    assert config.mine == "none"


def test_a_plugin_cannot_change_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = third_party(monkeypatch, lambda configuration: configuration.pop("k"))
    config.activate(["x", "x"])
    assert config.mine == 1


def test_a_failing_plugin_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config = third_party(monkeypatch, lambda configuration: configuration["absent"])
    with pytest.raises(ConfigError, match=r"'m' .plugin mine.: KeyError: 'absent'"):
        config.activate_environment("x")


def test_an_unknown_plugin_warns_and_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    config = Configuration({"x": ["m", "s"]}, {"m": {"plugin": "what"}, "s": {"plugin": "storage"}})
    config.activate_environment("x")
    assert config.storage == {"plugin": "storage"}
    assert "'what' is not installed" in caplog.text


def test_a_plugin_that_cannot_be_imported_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> Any:
        raise ModuleNotFoundError("No module named 'marshmallow'")

    monkeypatch.setattr(plugins, "registered", lambda: {"mine": SimpleNamespace(load=load)})
    Configuration({"x": ["m"]}, {"m": {"plugin": "mine"}}).activate_environment("x")
    assert "No module named 'marshmallow'" in caplog.text


def test_yaml_is_not_imported_with_it() -> None:
    code = "import sys, zocalo_daemon.site.configuration; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_logging_levels_are_applied() -> None:
    config = Configuration(
        {"x": ["l"]},
        {
            "l": {
                "plugin": "logging",
                "loggers": {"site.a": {"level": "ERROR"}},
                "handlers": {"h": {"class": "no.such.Handler"}},
                "verbose": [
                    {"loggers": {"site.a": {"level": "INFO"}}},
                    {"loggers": {"site.a": {"level": 5}}},
                ],
            }
        },
    )
    config.activate_environment("x")
    logger = logging.getLogger("site.a")
    assert (logger.level, config.logging.verbosity) == (logging.ERROR, 0)
    config.logging.verbosity = 1
    assert (logger.level, config.logging.verbosity) == (logging.INFO, 1)
    config.logging.verbosity = 9
    assert (logger.level, config.logging.verbosity) == (5, 2)
    config.logging.verbosity = 0
    assert config.logging.verbosity == 2


@pytest.mark.parametrize(
    "bad",
    [
        {"loggers": [1]},
        {"loggers": {"a": 5}},
        {"root": 5},
        {"loggers": {"a": {"level": "LOUD"}}},
        {"verbose": {}},
        {"verbose": [[]]},
    ],
    ids=str,
)
def test_a_bad_logging_configuration_is_an_error(bad: dict[str, Any]) -> None:
    config = Configuration({"x": ["l"]}, {"l": {"plugin": "logging", **bad}})
    with pytest.raises(ConfigError, match=r"'l' .plugin logging"):
        config.activate_environment("x")


def test_where_spans_go() -> None:
    config = Configuration({"x": ["o"]}, {"o": {"plugin": "opentelemetry", "host": "h", "port": 4318}})
    config.activate_environment("x")
    assert config._opentelemetry == {"endpoint": "https://h:4318/v1/traces", "timeout": 10}
