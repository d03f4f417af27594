"""Which broker a job uses, by site configuration and flags."""

from __future__ import annotations

from pathlib import Path

import pytest
import workflows.transport
import yaml
from workflows.transport.pika_transport import PikaTransport
from workflows.transport.stomp_transport import StompTransport

from zocalo_daemon.wrapper import recipe, site
from zocalo_daemon.wrapper.outcome import Unusable
from zocalo_daemon.wrapper.ways import PIKA, STOMP


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """The settings of workflows, which are those of the whole process, as they were."""
    for one in (PikaTransport, StompTransport):
        monkeypatch.setattr(one, "defaults", dict(one.defaults))
        monkeypatch.setattr(one, "config", {})
    monkeypatch.setattr(workflows.transport, "default_transport", PIKA)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    account = {"username": "u", "password": "p"}
    document = {
        "version": 1,
        "environments": {"live": ["amqp", "store"], "old": ["stomp", "said"], "default": "old"},
        "amqp": {"plugin": "pika", "host": "r1,r2", "port": 5672, "vhost": "v", **account},
        "stomp": {"plugin": "stomp", "host": "a1", "port": 61613, "prefix": "site", **account},
        "said": {"plugin": "transport", "default": "StompTransport"},
        "store": {"plugin": "storage", "place": "here"},
    }
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(document))
    return {"ZOCALO_CONFIG": str(file)}


def test_environments(environ):
    live = site.activate(["live"], environ)
    assert (live.configured, live.default) == ({PIKA}, PIKA)
    assert live.config.storage["place"] == "here"
    assert site.broker(PIKA)["hosts"] == ["r1:5672", "r2:5672"]
    assert site.broker(PIKA)["vhost"] == "v"
    old = site.activate([], environ)
    assert (old.configured, old.default) == ({STOMP}, STOMP)
    assert site.broker(STOMP)["prefix"] == "site"


def test_several_environments(environ):
    both = site.activate(["live", "old"], environ)
    assert both.config.active_environments == ("live", "old")
    assert (both.configured, both.default) == ({PIKA, STOMP}, STOMP)
    chosen = site.activate([], {**environ, "ZOCALO_DEFAULT_ENV": "live"})
    assert chosen.config.active_environments == ("live",)


def test_without_a_site_configuration(environ):
    none = site.activate([], {})
    assert (none.configured, none.default) == (frozenset(), PIKA)
    assert none.config.storage is None
    assert site.broker(PIKA)["hosts"] == ["localhost:5672"]
    for names, where in ((["live"], {}), (["nowhere"], environ)):
        with pytest.raises(Unusable):
            site.activate(names, where)


def test_flags_count_more_than_the_site(environ, tmp_path):
    site.activate(["live"], environ)
    conf = tmp_path / "stomp.conf"
    conf.write_text("[stomp]\nhost = a7\n")
    flags = {"--rabbit-host": "other", "--rabbit-port": "1", "--stomp-conf": str(conf)}
    assert site.apply_flags(flags) == {PIKA, STOMP}
    assert site.broker(PIKA)["hosts"] == ["other:1"]
    assert site.broker(PIKA)["username"] == "u"
    assert site.broker(STOMP)["hosts"] == ["a7:61613"]
    with pytest.raises(Unusable, match="--rabbit-conf"):
        site.apply_flags({"--rabbit-conf": str(tmp_path / "none")})


@pytest.mark.parametrize("ports", ["1,2", "many"])
def test_ports_that_do_not_fit(ports):
    site.apply_flags({"--rabbit-host": "a,b,c", "--rabbit-port": ports})
    with pytest.raises(Unusable, match="one port"):
        site.broker(PIKA)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no object"),
        ('{"recipe": {}}', "lacks recipe-pointer"),
        ('{"recipe": {"1": {}}, "recipe-pointer": "x"}', "cannot be used"),
        ('{"recipe": {"start": [[1, {}]]}, "recipe-pointer": 1}', "cannot be used"),
        ('{"recipe": {"1": {"queue": "a"}}, "recipe-pointer": 1, "environment": 3}', "no step"),
        ('{"recipe": 7, "recipe-pointer": 1}', "cannot be used"),
    ],
)
def test_recipe_wrapper_files_that_are_none(text, said, tmp_path):
    file = tmp_path / "step.json"
    file.write_text(text)
    with pytest.raises(Unusable, match=said):
        recipe.read(file)
