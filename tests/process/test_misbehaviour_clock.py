"""A wall clock that jumps by years, back and forth: nothing is decided by it (libfaketime)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pulse import Host, obedient
from tests.waiting import wait_until

YEAR = 365 * 86400  # seconds
BACKOFF = 3.0  # seconds
LIBRARY = "faketime/libfaketimeMT.so.1"  # of the Debian package faketime


@pytest.fixture(scope="module")
def library() -> Path:
    found = [*Path("/usr/lib").glob(f"*/{LIBRARY}"), *Path("/usr/lib").glob(LIBRARY)]
    if not found:
        if "CI" in os.environ:
            pytest.fail("the package faketime is not installed")
        pytest.skip("needs the package faketime")
    return found[0]


@pytest.fixture(scope="module")
def host(tmp_path_factory, library: Path) -> Iterator[tuple[Host, Callable[[int], None]]]:
    """Return a daemon, and a function that sets its wall clock to so many seconds from ours."""
    directory = tmp_path_factory.mktemp("clock")
    clock = directory / "clock"

    def jump(seconds: int) -> None:
        clock.with_suffix(".new").write_text(f"{seconds:+}\n")
        clock.with_suffix(".new").rename(clock)

    jump(0)
    calm = {"backoff": f"{BACKOFF}s", "max_backoff": f"{BACKOFF}s"}
    services = {
        "weak": obedient(directory, restart=calm),
        "linger": obedient(directory, hang_timeout="10s"),
        "late": obedient(directory),
        "aging": obedient(directory),
    }
    host = Host(directory / "d", services)
    try:
        host.start(
            env={
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(clock),
                "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        )
        yield host, jump
    finally:
        host.close()


def year(host: Host) -> str:
    """Return the year that the daemon writes into its log now."""
    host.ask("stop", targets=["late"], wait=True)  # which is logged
    return host.stderr().splitlines()[-1][:4]


def test_the_clock_is_the_one_that_the_daemon_reads(host):
    d, jump = host
    jump(5 * YEAR)
    wait_until(lambda: year(d) == time.strftime("%Y", time.localtime(time.time() + 5 * YEAR)))
    d.ask("start", targets=["late"], wait=True)
    jump(0)


@pytest.mark.parametrize("seconds", [20 * YEAR, -20 * YEAR])
def test_jumps(host, seconds: int):
    """A message in hand, a backoff, an expiry, a delay: each takes as long as it would have otherwise."""
    d, jump = host
    jump(0)
    for marker in d.directory.parent.glob("*.*.*"):
        marker.unlink()
    (d.directory.parent / "linger.linger").unlink(missing_ok=True)
    d.ask("start", targets=["all"], wait=True)
    before = d.instances()
    with d.unharmed():
        d.ask("stop", targets=["aging"], wait=True)
        d.ask("send", queue="aging", body=b'"kept"', expiration=60.0)
        began = time.monotonic()
        d.ask("send", queue="late", body=b'"later"', delay=1.0)
        d.send("linger", '"linger"')
        wait_until((d.directory.parent / "linger.linger").exists)
        fall_into_backoff(d)
        jump(seconds)
        assert took(d, "late.later", began) >= 1.0
        d.ask("start", targets=["aging"], wait=True)
        took(d, "aging.kept", began)
        assert took(d, "linger.linger", began) >= 2.0
        d.wait_state("weak/0", "ready")
        assert BACKOFF / 2 <= time.monotonic() - began < BACKOFF + 10
        jump(-seconds)
        assert d.ctl("status").returncode == 0
    after = d.instances()
    for name in ("linger/0", "late/0"):
        assert after[name]["pid"] == before[name]["pid"]
        assert after[name]["restarts"] == 0
    assert d.status()["transports"][0]["state"] == "connected"


def took(d: Host, what: str, began: float) -> float:
    """Wait until a service has handled a message; return the seconds since `began`."""
    wait_until((d.directory.parent / f"{what}.done").exists, what)
    return time.monotonic() - began


def fall_into_backoff(d: Host) -> None:
    """Have a service die until its replacement waits."""
    while d.instance("weak/0")["state"] != "backoff":
        d.wait_state("weak/0", "ready")
        pid = d.kill("weak/0")
        wait_until(lambda pid=pid: d.instance("weak/0")["pid"] != pid)
