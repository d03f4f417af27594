"""The configuration object that services see."""

from __future__ import annotations

import argparse
import logging
import optparse
import subprocess
import sys
import traceback
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
    assert "(plugin what): it is not installed: what it configures is left out" in caplog.text


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
    assert config.opentelemetry == {"endpoint": "https://h:4318/v1/traces", "timeout": 10}
    assert config._opentelemetry is None  # or CommonService would set up the same once more
    full = {"plugin": "opentelemetry", "endpoint": "http://h/v1/traces", "timeout": 3}
    config = Configuration({"x": ["o"]}, {"o": full})
    config.activate_environment("x")
    assert config.opentelemetry == {"endpoint": "http://h/v1/traces", "timeout": 3}


# -- What else zocalo's Configuration offers (compatibility.md, 1: site configuration)


def test_an_undefined_environment_is_a_value_error_as_with_zocalo() -> None:
    with pytest.raises(ValueError, match="'nothing' is not defined"):
        Configuration.from_plain(PLAIN).activate_environment("nothing")


def test_defaults_can_be_declined() -> None:
    assert Configuration.from_plain(PLAIN).activate(default=False) == ()
    assert Configuration.from_plain(PLAIN).activate([]) == ("live",)
    assert Configuration.from_plain(PLAIN).activate(["test"], default=False) == ("test",)


@pytest.mark.parametrize("parser", [argparse.ArgumentParser(), optparse.OptionParser()], ids=["arg", "opt"])
def test_options_for_a_command_line(parser: Any) -> None:
    config = Configuration.from_plain(PLAIN)
    assert config.environment_cmd_args == ("-e", "--environment")
    config.add_command_line_options(parser)
    parsed = parser.parse_args(["-e", "live", "--environment", "test"])
    values = parsed[0] if isinstance(parsed, tuple) else parsed
    assert values.environment == ["live", "test"]
    with pytest.raises(SystemExit):
        parser.parse_args(["-e", "nothing"])


def test_it_says_what_it_holds_and_no_value() -> None:
    config = Configuration({"x": ["a"]}, {"a": {"plugin": "smtp", "password": "geheim"}})
    config.activate(["x"])
    assert (
        str(config) == repr(config) == "<Configuration: 1 environments, 1 plugin configurations, active: x>"
    )
    assert "geheim" not in repr(config.smtp) and config.smtp["password"] == "geheim"


@pytest.mark.parametrize(
    ("plugin", "values", "result"),
    [
        ("smtp", {"host": "h"}, {"host": "h"}),
        ("jmx", {"host": "h"}, {"host": "h"}),
        ("slurm", {"url": "u"}, {"url": "u"}),
        ("iris", {"url": "u"}, {"url": "u"}),
        ("rabbitmqapi", {"base_url": "u"}, {"base_url": "u", "vhost": "/"}),
        ("rabbitmqapi", {"vhost": "v"}, {"vhost": "v"}),
        ("storage", {"zocalo.recipe_directory": "/r"}, {"zocalo.recipe_directory": "/r"}),
    ],
)
def test_plugins_that_are_their_values(plugin: str, values: dict[str, Any], result: dict[str, Any]) -> None:
    config = Configuration({"x": ["p"]}, {"p": {"plugin": plugin, **values}})
    config.activate(["x"])
    assert getattr(config, plugin) == {"plugin": plugin, **result}


def test_graylog_returns_its_handler() -> None:
    values = {"plugin": "graylog", "protocol": "UDP", "host": "h", "port": 12201}
    config = Configuration({"x": ["g"]}, {"g": values})
    config.activate(["x"])
    assert isinstance(config.graylog, logging.Handler)
    logging.getLogger("zocalod.site").removeHandler(config.graylog)


class Schema:
    """What this reads of a schema of marshmallow."""

    def __init__(self, *, unknown: str) -> None:
        assert unknown == "exclude"

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("port") == 5:
            return {}
        return {"port": [f"bad with {values['password']}", "twice"], "map": {"a": {"value": ["deep"]}}}


def with_schema(monkeypatch: pytest.MonkeyPatch, **values: Any) -> Configuration:
    plugin = SimpleNamespace(activate=lambda configuration: configuration["port"], Schema=Schema)
    monkeypatch.setattr(plugins, "registered", lambda: {"mine": SimpleNamespace(load=lambda: plugin)})
    entries = {"m": {"plugin": "mine", "password": "geheim", **values}}
    return Configuration({"x": ["m"]}, entries, places={"m": "/etc/site.yaml:7"})


def test_a_schema_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_schema(monkeypatch, port=5, unknown=1)
    config.activate(["x"])
    assert config.mine == 5


def test_what_a_schema_refuses_has_its_place_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        with_schema(monkeypatch, port=6).activate(["x"])
    assert caught.value.message == (
        "/etc/site.yaml:7: site configuration 'm' (plugin mine): "
        "port: bad with ***; port: twice; map.a.value: deep"
    )
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


def test_bad_yaml_is_told_without_its_text(tmp_path: Any) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("plugin: smtp\npassword: geheim: no\n")
    config = Configuration({"x": ["s"]}, {"s": str(path)})
    with pytest.raises(ConfigError) as caught:
        config.activate(["x"])
    assert caught.value.message == f"{path}:2: site configuration 's': this is not valid YAML"


def test_a_transport_of_workflows_has_the_brokers_of_the_site_whenever_it_is_imported() -> None:
    code = """
import sys
if "early" in sys.argv:
    import workflows.transport.pika_transport
from zocalo_daemon.site.configuration import Configuration
account = {"host": "rmq1", "port": 5673, "username": "u", "password": "p", "vhost": "v"}
Configuration({"x": ["p"]}, {"p": {"plugin": "pika", **account}}).activate(["x"])
assert ("workflows.transport.pika_transport" in sys.modules) == ("early" in sys.argv)
from workflows.transport.pika_transport import PikaTransport
print(*(PikaTransport.defaults[f"--rabbit-{key}"] for key in ("host", "port", "user")))
"""
    for when in ("early", "late"):
        done = subprocess.run([sys.executable, "-c", code, when], capture_output=True, text=True, check=True)
        assert done.stdout == "rmq1 5673 u\n"
