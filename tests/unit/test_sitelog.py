import logging

import pytest

from tests.graylogkit import Graylog
from tests.waiting import wait_until
from zocalo_daemon.relay.sitelog import SiteLog
from zocalo_daemon.site import logs


class Broken(logging.Filter):
    def filter(self, record):
        raise KeyError("of the site")


@pytest.fixture
def graylog():
    server = Graylog("UDP")
    server.start()
    yield server
    server.stop()
    logs.detach()
    logging.raiseExceptions = True


def plugin(graylog):
    return {"plugin": "graylog", "protocol": "UDP", "host": "127.0.0.1", "port": graylog.port}


def handlers(graylog, name="zocalo.configuration.plugin_logging.DowngradeFilter"):
    far = {"()": "zocalo.configuration.plugin_logging.GraylogUDPHandler", "host": "127.0.0.1"}
    return {
        "plugin": "logging",
        "filters": {"f": {"()": name}},
        "handlers": {"far": {**far, "port": graylog.port, "filters": ["f"], "level": "INFO"}},
        "root": {"handlers": ["far"]},
    }


def test_messages_have_their_fields(graylog):
    log = SiteLog()
    log.write("zocalod", 20, "before there is a server", 1.0, {})
    log.direct([plugin(graylog)])
    fields = {"source": "zocalod", "instance": "s/0", "service": "s", "msg": "claimed"}
    log.write("zocalod", 40, "s/0 failed: 100 %s", 1.5, fields)
    log.flush()
    wait_until(lambda: graylog.taken)
    (one,) = graylog.taken
    assert (one["short_message"], one["timestamp"], one["level"]) == ("s/0 failed: 100 %s", 1.5, 3)
    assert (one["_facility"], one["_source"]) == ("zocalod", "zocalod")
    assert (one["_service"], one["_instance"]) == ("s", "s/0")


def test_filters_and_levels_of_the_site_count(graylog):
    log = SiteLog()
    log.direct([handlers(graylog)])
    log.write("relay", 10, "too low", 1.0, {})
    log.write("relay", 40, "lowered", 1.0, {})
    log.direct([])
    log.write("relay", 40, "nobody wants it any more", 1.0, {})
    wait_until(lambda: graylog.taken)
    assert [(one["short_message"], one["_level_name"]) for one in graylog.taken] == [("lowered", "WARNING")]


def test_a_filter_that_fails_is_told_once_and_ends_it(graylog, capsys):
    log = SiteLog()
    log.direct([handlers(graylog, "tests.unit.test_sitelog.Broken")])
    for _ in range(3):
        log.write("relay", 40, "x", 1.0, {})
    said = capsys.readouterr().err
    assert said == "nothing more of the daemon's own log goes to Graylog: KeyError: 'of the site'\n"
    assert graylog.taken == []
