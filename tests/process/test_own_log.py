"""What the daemon itself says, and what services print, at the site's Graylog server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.graylogkit import Graylog
from tests.waiting import wait_until

PRINTER = """\
import sys
from workflows.services.common_service import CommonService

class Printer(CommonService):
    _service_name = "Printer"
    _logger_name = "own.printer"

    def initializing(self):
        self.transport.subscribe("print", self.say, acknowledgement=True)

    def say(self, header, message):
        print(message, flush=True)
        self.log.info("logged %s", message)
        self.transport.ack(header)
"""


def test_graylog_gets_what_the_daemon_says_and_what_services_print(daemon: Any, tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(PRINTER)
    graylog = Graylog("UDP")
    graylog.start()
    try:
        site = tmp_path / "site.yaml"
        plugin = {"plugin": "graylog", "protocol": "UDP", "host": "127.0.0.1", "port": graylog.port}
        site.write_text(yaml.safe_dump({"version": 1, "environments": {"default": ["g"]}, "g": plugin}))
        d = daemon(
            {"printer": {"class": "printing:Printer"}},
            site=str(site),
            runtimes={"default": {"python_path": [str(tmp_path)]}},
        ).start()
        d.ctl("send", "print", '"hello"')
        wait_until(lambda: {"hello", "logged hello"} <= set(graylog.texts()))
        assert graylog.texts().count("logged hello") == 1
        printed = next(one for one in graylog.taken if one["short_message"] == "hello")
        assert (printed["_service"], printed["_facility"]) == ("printer", "zocalod")
        assert any(" starts; control socket " in text for text in graylog.texts())
        d.ctl("reexec")
        d.kill("printer/0")
        wait_until(lambda: any(text.startswith("printer/0 exited") for text in graylog.texts()))
        before = len(graylog.taken)
        site.write_text(yaml.safe_dump({"version": 1, "environments": {"default": []}}))
        d.ctl("reload")
        d.ctl("send", "print", '"private"')
        wait_until(lambda: "private" in d.ctl("logs", "printer").stdout)
        assert "private" not in graylog.texts()[before:]
        assert d.stop() == 0
    finally:
        graylog.stop()
