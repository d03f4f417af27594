"""What the built-in plugins ask for, row by row, each problem with its place (compatibility.md, 1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site.load import differs, load

GOOD = {
    "graylog": "protocol: UDP, host: h, port: 12201",
    "jmx": "host: h, port: 80, base_url: api/jolokia, username: u, password: geheim",
    "logging": "verbose: [{loggers: {a: {level: INFO}}}], root: {level: 10}, handlers: {h: {class: x}}",
    "rabbitmqapi": "base_url: 'http://h:15672/api', username: u, password: geheim",
    "slurm": "url: 'http://h', api_version: v0.0.40, user: u, user_token: geheim",
    "iris": "url: 'http://h', api_version: v0.0.40",
    "smtp": "host: h, port: 25, from: z@example.com",
    "storage": "zocalo.recipe_directory: /r, anything: [1]",
    "pika": "host: h, port: 5672, username: u, password: geheim, vhost: v",
    "stomp": "host: h, port: 61613, username: u, password: geheim, prefix: p",
    "transport": "default: PikaTransport",
    "opentelemetry": "host: h, port: 4318, timeout: 5",
    "of-somebody": "password: [1], port: x",
}


def problems(tmp_path: Path, plugin: str, values: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(f"version: 1\np: {{plugin: {plugin}, {values}}}\n")
    try:
        load(path, None)
    except ConfigError as e:
        return [line.removeprefix(f"{path}:2: ") for line in e.data["problems"]]
    return []


@pytest.mark.parametrize("plugin", GOOD)
def test_what_is_as_it_should_be(tmp_path: Path, plugin: str) -> None:
    assert problems(tmp_path, plugin, GOOD[plugin]) == []


REQUIRED = {
    "graylog": ["protocol", "host", "port"],
    "jmx": ["host", "port", "base_url", "username", "password"],
    "rabbitmqapi": ["base_url", "username", "password"],
    "slurm": ["url", "api_version"],
    "iris": ["url", "api_version"],
    "smtp": ["host", "port"],
    "pika": ["host", "port", "username", "password", "vhost"],
    "stomp": ["host", "port", "username", "password", "prefix"],
    "transport": ["default"],
    "opentelemetry": ["host", "port"],
}


@pytest.mark.parametrize("plugin", REQUIRED)
def test_what_is_missing(tmp_path: Path, plugin: str) -> None:
    assert problems(tmp_path, plugin, "") == [f"p: '{key}' is missing" for key in REQUIRED[plugin]]


@pytest.mark.parametrize(
    ("plugin", "right", "wrong", "problem"),
    [
        ("graylog", "UDP", "HTTP", "p.protocol: unknown word 'HTTP'; expected UDP or TCP"),
        ("graylog", "12201", "x", "p.port: expected a port, not 'x'"),
        ("graylog", "12201", "'1,2'", "p.port: expected a port, not '1,2'"),
        ("graylog", "host: h", "host: [h]", "p.host: expected text, not a list"),
        ("smtp", "z@example.com", "z", "p.from: expected a mail address, not 'z'"),
        ("jmx", "geheim", "[geheim]", "p.password: expected the password as text"),
        ("slurm", "geheim", "12345", "p.user_token: expected the password as text; put it in quotes"),
        ("opentelemetry", "timeout: 5", "timeout: x", "p.timeout: expected a number of seconds, not 'x'"),
        (
            "opentelemetry",
            "host: h, port: 4318",
            "endpoint: h",
            "p.endpoint: expected http://host:port or https://host:port, without a password",
        ),
        (
            "logging",
            "[{loggers: {a: {level: INFO}}}]",
            "{}",
            "p.verbose: expected a list of logging configurations, not a map",
        ),
        ("logging", "[{loggers: {a: {level: INFO}}}]", "[x]", "p.verbose[0]: expected a map, not 'x'"),
        ("logging", "INFO", "LOUD", "p.verbose[0].loggers.a.level: there is no level 'LOUD'"),
        ("logging", "{level: 10}", "[]", "p.root: expected a map, not a list"),
        ("logging", "{h: {class: x}}", "[]", "p.handlers: expected a map, not a list"),
        ("logging", "{class: x}", "7", "p.handlers.h: expected a map, not '7'"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, plugin: str, right: str, wrong: str, problem: str) -> None:
    told = problems(tmp_path, plugin, GOOD[plugin].replace(right, wrong))
    assert len(told) == 1 and told[0].startswith(problem)
    assert "geheim" not in told[0] and "12345" not in told[0]


def test_where_things_stand_is_known_and_makes_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("version: 1\ns: {plugin: storage}\nf: f.yaml\n")
    first = load(path, None)
    assert first["places"] == {"s": f"{path}:2", "f": str(tmp_path / "f.yaml")}
    path.write_text("version: 1\n\ns: {plugin: storage}\nf: f.yaml\n")
    second = load(path, None)
    assert second != first and not differs(first, second)
    path.write_text("version: 1\ns: {plugin: storage, a: 1}\nf: f.yaml\n")
    assert differs(first, load(path, None))
    assert differs(first, None) and not differs(None, None)
