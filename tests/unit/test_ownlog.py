from zocalo_daemon.site.ownlog import configurations

ZOCALO = "zocalo.configuration.plugin_logging"
UDP = {"()": f"{ZOCALO}.GraylogUDPHandler", "host": "h", "port": 12201, "filters": ["lower"]}
LOGGING = {
    "plugin": "logging",
    "filters": {"lower": {"()": f"{ZOCALO}.DowngradeFilter"}},
    "handlers": {"far": UDP, "file": {"class": "logging.FileHandler", "filename": "/x"}},
    "root": {"handlers": ["far", "file"], "level": "DEBUG"},
    "loggers": {"a": {"handlers": ["file"]}},
}
GRAYLOG = {"plugin": "graylog", "protocol": "UDP", "host": "h", "port": 12201}


def site(*names, **more):
    known = {"l": LOGGING, "g": GRAYLOG, "s": {"plugin": "storage"}, "file": "/lazy.yaml", **more}
    return {"environments": {"live": list(names)}, "active": ["live"], "configurations": known}


def test_only_graylog_servers_concern_the_daemon():
    first, second = configurations(site("l", "s", "g", "file", "unknown"))
    assert first["handlers"] == {"far": UDP}
    assert first["root"] == {"handlers": ["far"], "level": "DEBUG"}
    assert first["loggers"] == {"a": {"handlers": []}}
    assert first["filters"] == LOGGING["filters"]
    assert second == GRAYLOG


def test_there_is_nothing_without_them():
    assert configurations(None) == configurations({}) == configurations(site("s")) == []
    levels = {"plugin": "logging", "loggers": {"a": {"level": "INFO"}}}
    console = {"plugin": "logging", "handlers": {"c": {"class": "logging.StreamHandler"}}}
    broken = {"plugin": "logging", "handlers": 3}
    more = {"incremental": True, **LOGGING}
    assert configurations(site("v", "c", "b", "m", v=levels, c=console, b=broken, m=more)) == []
