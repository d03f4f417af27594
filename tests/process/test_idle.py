"""The idle timer of a service whose messages never stop coming: defect 16 of the peers, that it starves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport


def test_a_service_that_is_never_idle_writes_what_it_has_collected(daemon: Any, tmp_path: Path) -> None:
    file = tmp_path / "written"
    service = {"class": "holding:Collecting", "environment": {"file": str(file)}}
    d = daemon({"collecting": service}, relay={"clients": "user"}).start()
    transport = RelayTransport()
    transport._socket_path = d.directory / "relay.sock"
    transport.connect()
    sent = 0

    def keep_coming() -> bool:
        nonlocal sent
        transport.send("collecting", sent)
        sent += 1
        return file.exists()

    wait_until(keep_coming, "a timer that runs though messages keep coming", every=0.01)
    transport.disconnect()
    wait_until(lambda: sum(map(int, file.read_text().split())) == sent, "all that was sent")
    wait_until(lambda: d.instance("collecting/0")["in_flight"] == 0, "all of it settled")
