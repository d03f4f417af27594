"""The site's log handlers in the real daemon, with a Graylog server (compatibility.md, 1: logging)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.daemonkit import COMMANDS, SERVICES, Daemon
from tests.graylogkit import Graylog
from tests.waiting import wait_until

Start = Callable[..., Daemon]
ZOCALO = "zocalo.configuration.plugin_logging"


@pytest.fixture(params=["UDP", "TCP"])
def graylog(request: Any) -> Iterator[Graylog]:
    server = Graylog(request.param)
    yield server
    server.stop()


@pytest.fixture
def start(daemon: Any, tmp_path: Path) -> Start:
    """Return a function that starts a daemon with a Talker and a site configuration."""

    def start(*plugins: dict[str, Any], **more: Any) -> Daemon:
        names = [f"p{n}" for n in range(len(plugins))]
        site = tmp_path / "site.yaml"
        entries = dict(zip(names, plugins, strict=True))
        site.write_text(yaml.safe_dump({"version": 1, "environments": {"default": names}, **entries}))
        return daemon({"talker": {"class": "talking:Talker"}}, site=str(site), **more).start()

    return start


def logging_plugin(graylog: Graylog, protocol: str) -> dict[str, Any]:
    handler = {"()": f"{ZOCALO}.Graylog{protocol}Handler", "host": "127.0.0.1", "port": graylog.port}
    return {
        "plugin": "logging",
        "filters": {"lower": {"()": f"{ZOCALO}.DowngradeFilter", "reduce_to": "WARNING"}},
        "handlers": {
            "graylog": {**handler, "level": "INFO", "filters": ["lower"]},
            "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
        },
        "root": {"handlers": ["graylog", "console"]},
        "loggers": {"site.quiet": {"level": "ERROR"}},
    }


def talk(d: Daemon, text: str, level: int = 20, **more: Any) -> None:
    d.ctl("send", "talk", json.dumps({"text": text, "level": level, **more}))


def logged(graylog: Graylog) -> list[dict[str, Any]]:
    """Return what services have logged, without what the daemon says (test_own_log)."""
    return [one for one in graylog.taken if one["_facility"] != "zocalod"]


def away(d: Daemon) -> int:
    """Return how often the worker has said that the server is away; the relay says it too."""
    return sum("talker/0: Graylog" in line and " is away (" in line for line in d.stderr().splitlines())


def log(d: Daemon) -> str:
    return d.ctl("logs", "talker", "-n", "5000").stdout


def test_records_reach_graylog_as_the_site_wants_them(start: Start, graylog: Graylog) -> None:
    graylog.start()
    protocol = "TCP" if graylog._tcp else "UDP"
    d = start(logging_plugin(graylog, protocol))
    talk(d, "hello")
    talk(d, "unheard", 30, logger="site.quiet")
    talk(d, "too loud", 40)
    talk(d, "broken", fail="key")
    talk(d, "x" * 30_000)
    wait_until(lambda: len(logged(graylog)) >= 4)
    first, loud, broken, long = logged(graylog)
    assert (first["short_message"], first["level"], first["_facility"]) == ("hello", 6, "site.talker")
    assert (first["_recipe_ID"], first["_workflows_service"]) == ("r-1", "Talker")
    assert first["_workflows_host"].endswith(f".{d.instance('talker/0')['pid']}")
    assert (loud["short_message"], loud["level"], loud["_level_name"]) == ("too loud", 4, "WARNING")
    assert broken["full_message"].startswith("Traceback") and "KeyError" in broken["full_message"]
    assert long["short_message"] == "x" * 30_000
    lines = log(d)
    assert lines.count("hello") == 1 and "too loud" in lines


def test_graylog_away_holds_up_nothing_and_is_one_line(start: Start, tmp_path: Path) -> None:
    graylog = Graylog("TCP")
    graylog.reserve()
    d = start({"plugin": "graylog", "protocol": "TCP", "host": "127.0.0.1", "port": graylog.port})
    before = time.monotonic()
    talk(d, "waiting", times=1500, done=str(tmp_path / "done"))
    wait_until((tmp_path / "done").exists)
    assert time.monotonic() - before < 5
    wait_until(lambda: away(d) == 1 and "is away (Connection refused)" in d.stderr())
    graylog.start()
    wait_until(lambda: len(logged(graylog)) >= 1000)
    wait_until(lambda: "is back; " in log(d))
    graylog.stop()
    wait_until(lambda: talk(d, "lost or late") or away(d) == 2)
    graylog.start()
    wait_until(lambda: "lost or late" in graylog.texts())
    talk(d, "last")
    wait_until(lambda: "last" in graylog.texts())
    assert away(d) == 2
    assert d.stop() == 0


def test_what_was_said_last_arrives(start: Start, graylog: Graylog) -> None:
    graylog.start()
    protocol = "TCP" if graylog._tcp else "UDP"
    d = start({"plugin": "graylog", "protocol": protocol, "host": "127.0.0.1", "port": graylog.port})
    talk(d, "last words", times=50)
    wait_until(lambda: graylog.taken)
    assert d.stop() == 0
    wait_until(lambda: graylog.texts().count("last words") == 50)


# -- Plugins of third parties

PLUGIN = """\
import logging
from marshmallow import Schema, ValidationError, fields, validates

class Site:
    class Schema(Schema):
        plugin = fields.Str(required=True)
        port = fields.Int(required=True)
        password = fields.Str()

        @validates("password")
        def check(self, value, **_):
            if len(value) < 8:
                raise ValidationError(f"{value} is too short")

    @staticmethod
    def activate(configuration, config_object):
        assert config_object.storage["first"]
        handler = logging.FileHandler(configuration["file"], delay=True)
        logging.getLogger().addHandler(handler)
        return {"port": int(configuration["port"])}
"""


@pytest.fixture
def third_party(tmp_path: Path) -> list[str]:
    """Install a plugin `facility` where the runtime finds it; return the runtime's python_path."""
    place = tmp_path / "third"
    (place / "facility-1.dist-info").mkdir(parents=True)
    (place / "facility.py").write_text(PLUGIN)
    (place / "facility-1.dist-info/METADATA").write_text("Name: facility\nVersion: 1\n")
    points = "[zocalo.configuration.plugins]\nfacility = facility:Site\nbroken = no_such_module:Site\n"
    (place / "facility-1.dist-info/entry_points.txt").write_text(points)
    return [str(SERVICES), str(place)]


def test_a_plugin_of_a_third_party_and_an_unknown_one(
    start: Start, third_party: list[str], tmp_path: Path
) -> None:
    d = start(
        {"plugin": "storage", "first": True},
        {"plugin": "facility", "port": "5", "file": str(tmp_path / "facility.log"), "more": 1},
        {"plugin": "nowhere"},
        {"plugin": "broken"},
        runtimes={"default": {"python_path": third_party}},
    )
    talk(d, "kept by the plugin")
    wait_until(lambda: "kept by the plugin" in log(d))
    assert (tmp_path / "facility.log").read_text() == "kept by the plugin\n"
    site = tmp_path / "site.yaml"
    told = [
        f"{site}:{line_of(site, 'nowhere')}: site configuration 'p2' (plugin nowhere): it is not installed: "
        "what it configures is left out (runtime default)",
        f"{site}:{line_of(site, 'broken')}: site configuration 'p3' (plugin broken): it cannot be loaded "
        "and is left out: ModuleNotFoundError: No module named 'no_such_module' (runtime default)",
    ]
    assert [d.stderr().count(line) for line in told] == [1, 1]
    command = [str(COMMANDS / "zocalod"), "--config", str(d.config_file), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in checked if line.startswith("warning: /")] == [
        f"warning: {line}" for line in told
    ]
    doctor = json.loads(d.ctl("--json", "doctor", "--config", str(d.config_file), check=False).stdout)[
        "findings"
    ]
    runtime = [one for one in doctor if one["what"] == "runtime" and one["level"] == "warning"]
    assert [f"{one['text']} (runtime default)" for one in runtime] == told


def line_of(site: Path, plugin: str) -> int:
    """Return the line where a plugin configuration begins."""
    lines = site.read_text().splitlines()
    return next(n for n, line in enumerate(lines) if line == f"  plugin: {plugin}")


def test_what_its_schema_refuses_has_file_and_line_and_no_secret(
    start: Start, third_party: list[str], tmp_path: Path
) -> None:
    d = start(runtimes={"default": {"python_path": third_party}})
    site = tmp_path / "site.yaml"
    bad = "version: 1\nenvironments: {default: [f]}\n\nf: {plugin: facility, password: geheim}\n"
    site.write_text(bad)
    done = d.ctl("reload", check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"{site}:4: site configuration 'f' (plugin facility): " in said
    assert "port: Missing data for required field." in said
    assert "password: *** is too short" in said
    assert "geheim" not in said + d.stderr()
    assert d.instance("talker/0")["state"] == "ready"


def test_only_what_a_site_configuration_means_restarts_services(start: Start, tmp_path: Path) -> None:
    d = start({"plugin": "storage", "first": True})
    pid = d.instance("talker/0")["pid"]
    site = tmp_path / "site.yaml"
    site.write_text("# moved\n" + site.read_text())
    d.ctl("reload")
    assert d.instance("talker/0")["pid"] == pid
    site.write_text(site.read_text().replace("true", "false"))
    d.ctl("reload")
    assert d.instance("talker/0")["pid"] != pid
