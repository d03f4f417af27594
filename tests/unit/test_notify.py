"""What a service manager asks for, and how it is told."""

import socket

import pytest

from zocalo_daemon import notify
from zocalo_daemon.notify import Notifier


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "90000000"}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "7"}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_asked_for_by_time_and_pid(environ, seconds):
    assert notify.watchdog(environ, 7) == seconds


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_socket_there_is_nobody_to_tell(environ):
    assert not Notifier(environ)


@pytest.mark.parametrize("abstract", [False, True])
def test_fields_are_lines_of_one_datagram(tmp_path, abstract):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        place = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
        manager.bind(place.replace("@", "\0"))
        assert Notifier({"NOTIFY_SOCKET": place}).tell(READY=1, STATUS="two\nlines")
        assert manager.recv(100) == b"READY=1\nSTATUS=two lines"


def test_a_manager_that_is_away_or_does_not_read_delays_nobody(tmp_path):
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert notifier
    assert not notifier.tell(READY=1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        while notifier.tell(WATCHDOG=1):
            pass
        manager.recv(100)
        assert notifier.tell(WATCHDOG=1)


def test_what_is_started_gets_no_variable_of_the_managers():
    assert notify.without({"A": "1", "NOTIFY_SOCKET": "/n", "LISTEN_PID": "1"}) == {"A": "1"}
