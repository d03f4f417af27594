"""Site configuration files to plain data; every problem with its place. Files are in tmp_path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site.configuration import Configuration
from zocalo_daemon.site.environments import chosen_environment
from zocalo_daemon.site.load import load
from zocalo_daemon.site.transports import transports

STORAGE = "s: {plugin: storage, zocalo.recipe_directory: /r}\nt: {plugin: storage, x: 2}\n"


def site(tmp_path: Path, text: str, name: str = "site.yaml") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if "version" in text else "version: 1\n" + text)
    return path


def environments(tmp_path: Path, text: str) -> Any:
    return load(site(tmp_path, text + STORAGE + "u: {plugin: storage}\n"), None)["environments"]


def problems(path: Path, environment: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environment)
    prefix = str(path.parent) + "/"
    return [line.removeprefix(prefix) for line in caught.value.data["problems"]]


def test_an_environment_is_a_list(tmp_path: Path) -> None:
    assert environments(tmp_path, "environments: {a: [t, s, t]}\n") == {"a": ["t", "s"]}


def test_groups_load_by_name_and_plugins_last(tmp_path: Path) -> None:
    text = "environments: {a: {plugins: [s], zz: u, b: [t]}}\n"
    assert environments(tmp_path, text) == {"a": ["t", "u", "s"]}


def test_aliases_lead_on(tmp_path: Path) -> None:
    text = "environments: {a: b, b: c, c: [s], d: {}}\n"
    assert environments(tmp_path, text) == {"a": ["s"], "b": ["s"], "c": ["s"], "d": []}


def test_the_data_travels_and_activates(tmp_path: Path) -> None:
    path = site(tmp_path, "environments: {default: [s, t]}\n" + STORAGE)
    data = msgpack.unpackb(msgpack.packb(load(path, None)))
    config = Configuration.from_plain(data)
    assert config.activate() == ("default",)
    assert config.storage == {"plugin": "storage", "zocalo.recipe_directory": "/r", "x": 2}
    assert data["files"] == [str(path)]


def test_without_default_nothing_is_active(tmp_path: Path) -> None:
    assert load(site(tmp_path, "environments: {a: [s]}\n" + STORAGE), None)["active"] == []
    assert load(site(tmp_path, "version: 1\n"), None)["environments"] == {}
    assert load(site(tmp_path, "environments: {a: [s]}\n" + STORAGE), "a")["active"] == ["a"]


@pytest.mark.parametrize(
    ("given", "environ", "known", "chosen"),
    [
        ("x", {"ZOCALO_DEFAULT_ENV": "y"}, ["default"], "x"),
        (None, {"ZOCALO_DEFAULT_ENV": "y"}, ["default"], "y"),
        (None, {"ZOCALO_DEFAULT_ENV": ""}, ["default"], "default"),
        (None, {}, ["live"], None),
    ],
)
def test_which_environment(given: Any, environ: Any, known: Any, chosen: Any) -> None:
    assert chosen_environment(given, environ, known) == chosen


def test_a_file_is_read_only_when_its_environment_is_chosen(tmp_path: Path) -> None:
    path = site(tmp_path, "environments: {a: [f], b: [g]}\nf: sub/f.yaml\ng: /absent.yaml\n")
    site(tmp_path, "{plugin: storage, version: 5}", "sub/f.yaml")
    assert load(path, "a")["configurations"] == {
        "f": {"plugin": "storage", "version": 5},
        "g": "/absent.yaml",
    }
    assert load(path, None)["configurations"]["f"] == str(tmp_path / "sub/f.yaml")
    assert problems(path, "b") == ["/absent.yaml: cannot be read: no such file or directory"]


def test_includes_are_laid_below_and_are_relative_to_their_file(tmp_path: Path) -> None:
    site(tmp_path, "s: {plugin: storage, x: 1}\nl: secret.yaml\n", "sub/low.yaml")
    site(
        tmp_path,
        "include: [low.yaml]\nenvironments: {a: [s], b: [s]}\ns: {plugin: storage, x: 2, y: 2}\n",
        "sub/mid.yaml",
    )
    path = site(tmp_path, "include: [sub/low.yaml, sub/mid.yaml]\nenvironments: {b: [l]}\n")
    data = load(path, None)
    assert data["environments"] == {"a": ["s"], "b": ["l"]}
    assert data["configurations"] == {
        "s": {"plugin": "storage", "x": 2, "y": 2},
        "l": str(tmp_path / "sub/secret.yaml"),
    }
    assert sorted(data["files"]) == sorted(
        str(tmp_path / n) for n in ("site.yaml", "sub/low.yaml", "sub/mid.yaml")
    )


def test_includes_in_a_circle_are_an_error(tmp_path: Path) -> None:
    path = site(tmp_path, "include: [b.yaml]\n")
    site(tmp_path, "\ninclude: site.yaml\n", "b.yaml")
    (line,) = problems(path)
    assert line.startswith("b.yaml:3: include: ")
    assert "never end" in line


def test_values_are_those_of_yaml_except_dates(tmp_path: Path) -> None:
    text = "s: {plugin: storage, a: 2026-11-22, b: [1, 1.5, true, ~], 7: {x: on}}\n"
    assert load(site(tmp_path, text), None)["configurations"]["s"] == {
        "plugin": "storage",
        "a": "2026-11-22",
        "b": [1, 1.5, True, None],
        7: {"x": True},
    }


ONE_PROBLEM = {
    "": ["site.yaml:1: 'version' is missing; write 'version: 1' at the top"],
    "version: 2": ["site.yaml:1: version: only version 1 is understood, not '2'"],
    "version: '1'": ["site.yaml:1: version: only version 1 is understood, not '1'"],
    "[]": ["site.yaml:1: expected a map of keys and values, for example 'version: 1'"],
    "version: 1\nstorage: {x: 1}": [
        "site.yaml:2: storage: 'plugin' is missing; write for example 'plugin: storage'"
    ],
    "version: 1\ns: {plugin: [x]}": ["site.yaml:2: s.plugin: expected the name of a plugin, not a list"],
    "version: 1\ns: 7": ["site.yaml:2: s: expected a map with the key 'plugin', or a file, not '7'"],
    "version: 1\nenvironments: []": ["site.yaml:2: environments: expected a map of environments, not a list"],
    "version: 1\nenvironments: {a: b}": [
        "site.yaml:2: environments.a: there is no environment 'b'; expected a list"
    ],
    "version: 1\nenvironments: {a: ~}": [
        "site.yaml:2: environments.a: expected a list, a map of groups or an alias, not nothing"
    ],
    "version: 1\nenvironments: {a: a}": ["site.yaml:2: environments.a: the alias leads in a circle: a -> a"],
    "version: 1\nenvironments: {a: [storag]}\nstorage: {plugin: storage}": [
        "site.yaml:2: environments.a: there is no plugin configuration 'storag'; did you mean 'storage'?"
    ],
    "version: 1\nenvironments: {a: [version]}": [
        "site.yaml:2: environments.a: version is no plugin configuration"
    ],
    "version: 1\nenvironments: {a: {g: {x: 1}}}": [
        "site.yaml:2: environments.a: expected the name of a plugin configuration, not a map"
    ],
    "version: 1\ninclude: 7": ["site.yaml:2: include: expected a list of files, not '7'"],
    "version: 1\ns: {plugin: storage}\ns: {plugin: storage}": [
        "site.yaml:3: s: the key is there already, in line 2"
    ],
    "version: 1\ns: {plugin: storage, n: 123456789012345678901234567890}": [
        "site.yaml:2: s.n: the number has more than 64 bits"
    ],
}


@pytest.mark.parametrize("text", ONE_PROBLEM)
def test_each_problem_has_its_place_and_a_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert problems(path) == ONE_PROBLEM[text]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = site(tmp_path, "environments:\n  a: [x]\n  b: c\n  c: b\ns: 1\n")
    assert [line.split(" ")[0] for line in problems(path)] == [f"site.yaml:{n}:" for n in (3, 4, 5, 6)]


def test_an_unknown_environment_names_the_nearest(tmp_path: Path) -> None:
    path = site(tmp_path, "environments: {live: []}\n")
    assert problems(path, "liv") == [
        "site.yaml: site_environment: there is no environment 'liv'; did you mean 'live'?"
    ]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert problems(tmp_path) == [
        f"{tmp_path.name}: cannot be read: it is no file, but a directory or a device"
    ]


# -- Transports of the site

PIKA = "p: {plugin: pika, host: 'r1,r2', port: 5672, username: u, password: secret, vhost: v}\n"
API = "m: {plugin: rabbitmqapi, base_url: 'http://rmq:15672/api', username: m, password: geheim}\n"
STOMP = "q: {plugin: stomp, host: a, port: 61613, username: u, password: p, prefix: zoc}\n"


def offered(tmp_path: Path, text: str) -> Any:
    return transports(load(site(tmp_path, text), None))


def test_transports_of_the_active_environment(tmp_path: Path) -> None:
    found, default = offered(tmp_path, "environments: {default: [p, q]}\n" + PIKA + STOMP)
    assert found["rabbitmq"].hosts == ("r1:5672", "r2:5672")
    assert (found["rabbitmq"].vhost, found["rabbitmq"].password) == ("v", "secret")
    assert (found["activemq"].hosts, found["activemq"].prefix) == (("a:61613",), "zoc")
    assert default == "rabbitmq"
    assert found["rabbitmq"].management is None


def test_the_management_api_of_the_site_belongs_to_rabbitmq(tmp_path: Path) -> None:
    found, _ = offered(tmp_path, "environments: {default: [m, p]}\n" + API + PIKA)
    management = found["rabbitmq"].management
    assert (management.url, management.username) == ("http://rmq:15672/api", "m")
    assert management.password == "geheim" and "geheim" not in repr(found)
    assert offered(tmp_path, "environments: {default: [m]}\n" + API)[0] == {}


@pytest.mark.parametrize(
    "line",
    [
        "d: {plugin: transport, default: StompTransport}",
        "d: {plugin: storage, zocalo.default_transport: StompTransport}",
    ],
)
def test_the_default_transport(tmp_path: Path, line: str) -> None:
    found, default = offered(tmp_path, "environments: {default: [p, q, d]}\n" + PIKA + STOMP + line + "\n")
    assert default == "activemq"
    assert set(found) == {"rabbitmq", "activemq"}


def test_nothing_is_offered_by_what_is_not_active(tmp_path: Path) -> None:
    assert offered(tmp_path, PIKA) == ({}, None)


def test_one_port_serves_all_hosts_and_several_belong_to_one_each(tmp_path: Path) -> None:
    text = "environments: {default: [p]}\n" + PIKA.replace("5672", "'1, 2'")
    assert offered(tmp_path, text)[0]["rabbitmq"].hosts == ("r1:1", "r2:2")


def test_a_default_that_is_no_broker_says_nothing(tmp_path: Path) -> None:
    text = "environments: {default: [p, d]}\nd: {plugin: transport, default: RelayTransport}\n" + PIKA
    assert offered(tmp_path, text)[1] == "rabbitmq"


def test_a_default_without_its_broker(tmp_path: Path) -> None:
    text = "environments: {default: [p, d]}\nd: {plugin: transport, default: StompTransport}\n" + PIKA
    with pytest.raises(ConfigError, match="'d': the default is StompTransport, and no plugin stomp"):
        offered(tmp_path, text)


@pytest.mark.parametrize(
    ("wrong", "right", "problem"),
    [
        ("'1,2,3'", "5672", "port: 2 hosts and 3 ports; give one for each"),
        ("x", "5672", "port: expected a port, or several with commas between, not 'x'"),
        ("70000", "5672", "port: expected a port, or several with commas between, not '70000'"),
        ("'r1,'", "'r1,r2'", "host: expected a host, or several with commas between, not ''"),
        ("password: 12345", "password: secret", "password: expected the password as text; put it in quotes"),
        ("username: [u]", "username: u", "username: expected text, not a list"),
    ],
)
def test_what_concerns_brokers_is_checked_with_its_line(
    tmp_path: Path, wrong: str, right: str, problem: str
) -> None:
    text = "environments: {default: [p]}\n" + PIKA.replace(right, wrong)
    assert problems(site(tmp_path, text)) == [f"site.yaml:3: p.{problem}"]


def test_what_is_missing_of_a_broker(tmp_path: Path) -> None:
    text = "environments: {default: [p]}\np: broker.yaml\n"
    site(tmp_path, "plugin: pika\nversion: 1\nhost: r1\nport: 5672\nusername: u\nvhost: v\n", "broker.yaml")
    assert problems(site(tmp_path, text)) == ["broker.yaml:1: p: 'password' is missing"]
