"""Processes of zocalo beside the daemon, on one RabbitMQ: they share queues, and know of each other.

compatibility.md, 1: the rows `zocalo.service`, `zocalo.shutdown`, `status broadcast` and `commands`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.beside.site import Plain, Site
from tests.beside.test_services import lines
from tests.daemonkit import Daemon
from tests.waiting import wait_until

STEP = {"queue": "jsonlines", "parameters": {"output_filename": "{directory}/all.jsonl"}}
RECIPE = {"1": STEP, "start": [[1, {"n": "{n}"}]]}
MONITOR = """\
import sys
from workflows.contrib.status_monitor import Monitor
from workflows.transport.stomp_transport import StompTransport
StompTransport.defaults["--stomp-port"], StompTransport.defaults["--stomp-prfx"] = int(sys.argv[1]), "zocalo"
StompTransport.defaults["--stomp-user"] = StompTransport.defaults["--stomp-pass"] = "guest"
Monitor(StompTransport).run()
"""


def submit(d: Daemon, directory: Path, numbers: range) -> None:
    for n in numbers:
        start = [[1, {"n": n}]]
        message = {"custom_recipe": {**RECIPE, "start": start}, "parameters": {"directory": str(directory)}}
        d.ctl("send", "processing_recipe", "-", stdin=json.dumps(message))


def written(directory: Path) -> list[int]:
    return sorted(line["n"] for line in lines(directory / "all.jsonl"))


def cluster(d: Daemon) -> list[dict[str, Any]]:
    return json.loads(d.ctl("--json", "cluster").stdout)["services"]


def of_others(d: Daemon, name: str) -> list[dict[str, Any]]:
    """Return the statuses of services of this name that the daemon does not run."""
    return [one for one in cluster(d) if one.get("service") == name and "instance" not in one]


def test_zocalo_service_and_ours_share_the_work_and_stand_by_for_each_other(
    of_site: Callable[..., Daemon], plain: Callable[..., Plain], tmp_path: Path
) -> None:
    jsonlines = plain("zocalo.service", "-v", "-s", "JSONLines")
    dispatcher = plain("zocalo.service", "-v", "-s", "Dispatcher")
    dispatcher.wait_for("Dispatcher starting")
    d = of_site({"dispatcher": {"class": "Dispatcher"}, "jsonlines": {"class": "JSONLines", "instances": 0}})
    wait_until(lambda: of_others(d, "JSON Lines"), "their JSONLines")
    submit(d, tmp_path, range(20))
    wait_until(lambda: written(tmp_path) == list(range(20)), "what their JSONLines writes")

    def shares() -> tuple[int, int]:
        theirs = dispatcher.output.count("Processed incoming message")
        return d.instance("dispatcher/0")["processed"], theirs

    wait_until(lambda: sum(shares()) == 20, "each to be done once")
    assert all(shares())
    # Their subscription is exclusive: ours has to stand by, and takes over.
    d.ctl("scale", "jsonlines=1")
    d.wait_ready()
    submit(d, tmp_path, range(20, 25))
    wait_until(lambda: written(tmp_path) == list(range(25)), "what their JSONLines writes")
    assert d.instance("jsonlines/0")["processed"] == 0
    jsonlines.close()
    submit(d, tmp_path, range(25, 30))
    wait_until(lambda: written(tmp_path) == list(range(30)), "what ours writes")
    wait_until(lambda: d.instance("jsonlines/0")["processed"] == 5, "their settlement")


def test_each_side_sees_and_stops_the_other(
    of_site: Callable[..., Daemon], plain: Callable[..., Plain], site: Site
) -> None:
    theirs = plain("zocalo.service", "-s", "SampleConsumer", "--tag", "blue")
    d = of_site({"one": {"class": "trial:Rejecter", "instances": 2}, "dispatcher": {"class": "Dispatcher"}})
    (status,) = wait_until(lambda: of_others(d, "Message Consumer"), "their service")
    assert (status["tag"], status["transport"]) == ("blue", "rabbitmq")

    def host_of(instance: str) -> str:
        return next((one["host"] for one in cluster(d) if one.get("instance") == instance), "")

    site.run("zocalo.shutdown", wait_until(lambda: host_of("one/1"), "our service"), check=True)
    d.wait_state("one/1", "stopped")
    site.run("zocalo.shutdown", "-s", "Dispatcher", check=True)
    d.wait_state("dispatcher/0", "stopped")
    assert d.instance("one/0")["state"] == "ready"
    d.ctl("shutdown", "-s", "SampleConsumer")
    assert theirs.wait() == 0
    again = plain("zocalo.service", "-s", "SampleConsumer")
    (status,) = wait_until(
        lambda: [s for s in of_others(d, "Message Consumer") if s["host"] != status["host"]], "another one"
    )
    d.ctl("shutdown", status["host"])
    assert again.wait() == 0


@contextlib.contextmanager
def screen(command: list[str], env: dict[str, str]) -> Iterator[Callable[[], str]]:
    """Run a program on a terminal of its own; yields a function that returns what it has drawn so far."""
    terminal, its_end = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    process = subprocess.Popen(command, env=env, stdin=its_end, stdout=its_end, stderr=its_end)
    os.close(its_end)
    drawn = b""

    def look() -> str:
        nonlocal drawn
        assert process.poll() is None, drawn.decode(errors="replace")
        while select.select([terminal], [], [], 0)[0]:
            drawn += os.read(terminal, 65536)
        return drawn.decode(errors="replace")

    try:
        yield look
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_status_monitor_of_workflows_shows_our_workers(
    of_site: Callable[..., Daemon], site: Site, active: Any
) -> None:
    """By ActiveMQ: RabbitMQ has headers that are no text, and it cannot show any status with these."""
    d = of_site({"one": {"class": "trial:Rejecter"}}, "activemq")
    pid = d.instance("one/0")["pid"]
    env = {**site.environment("activemq"), "TERM": "xterm"}
    with screen([sys.executable, "-c", MONITOR, str(active.port)], env) as look:
        wait_until(lambda: f".{pid}" in look() and "Rejecter" in look() and "idle" in look(), "our worker")
