"""Services that die, in every way there is: each death is told apart, and the service beside it goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pulse import Host, hosting, obedient
from tests.waiting import wait_until

FAST = {"backoff": "10ms", "max_backoff": "50ms", "limit": 3}
DEATHS = ("vanish", "crash", "fail", "leave", "suicide")


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Iterator[Host]:
    directory = tmp_path_factory.mktemp("deaths")
    loop = {"class": "misbehaving:Looper", "environment": {"broken": str(directory / "broken")}}
    services = {
        **{name: obedient(directory, restart=FAST) for name in DEATHS},
        "loop": {**loop, "restart": FAST},
    }
    with hosting(directory / "d", services) as host:
        yield host


def die(host: Host, how: str) -> dict:
    """Have a service die over a message; return the instance once that message has been handled after all."""
    before = host.instance(f"{how}/0")
    with host.unharmed():
        host.send(how, f'"{how}"')
        wait_until((host.directory.parent / f"{how}.{how}.done").exists, f"{how} is redelivered")
        after = host.wait_state(f"{how}/0", "ready")
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1
    return after


def test_exit_in_the_middle_of_a_message(host: Host):
    assert die(host, "vanish")["last_exit"] == "exit status 7: it called os._exit(7), or a library did"
    assert "exited exit status 7" in host.events("vanish")


def test_segmentation_fault(host: Host):
    assert die(host, "crash")["last_exit"].startswith("signal SIGSEGV: segmentation fault at ")
    said = host.logs("crash")
    assert "Segmentation fault" in said
    assert "misbehaving.py" in said
    assert "in crash" in said


def test_unhandled_exception(host: Host):
    assert "there is a mistake in this service" in die(host, "fail")["last_exit"]
    said = host.logs("fail")
    assert "RuntimeError: there is a mistake in this service" in said
    assert "in fail" in said


def test_sys_exit_in_a_callback(host: Host):
    last = die(host, "leave")["last_exit"]
    assert "SystemExit" in last
    assert "enough of it" in last


def test_kill_from_outside(host: Host):
    assert die(host, "suicide")["last_exit"] == "signal SIGKILL: killed from outside the daemon"


def test_crash_loop_ends_at_the_limit_with_a_reason(host: Host):
    broken = host.directory.parent / "broken"
    broken.touch()
    with host.unharmed():
        host.kill("loop/0")
        failed = host.wait_state("loop/0", "failed")
        assert failed["pid"] is None
        assert failed["restarts"] == FAST["limit"]
        assert "4 deaths within 120 s" in failed["reason"]
        assert "the detector is switched off" in failed["reason"]
        assert "failed 4 deaths" in host.events("loop")
        assert "to try again: zocaloctl start loop/0" in host.events("loop")
        assert "the detector is switched off" in host.ctl("status", check=False).stdout
    broken.unlink()
    assert host.ctl("start", "loop").stdout == "loop/0 ready\n"
