"""Who may run as whom."""

import pytest

from zocalo_daemon.config import users
from zocalo_daemon.config.schema import ControlConfig, DaemonConfig, ServiceConfig


@pytest.mark.parametrize(
    ("more", "uid", "problem"),
    [
        ({}, 7, None),
        ({"user": "root", "group": "root"}, 0, None),
        ({"user": "no such"}, 0, "services.a.user: there is no user 'no such' on this machine"),
        ({"group": "no such"}, 0, "services.a.group: there is no group 'no such' on this machine"),
        (
            {"user": "root"},
            7,
            "services.a.user: only a daemon that runs as root can give its workers another one",
        ),
        (
            {"group": "root"},
            7,
            "services.a.group: only a daemon that runs as root can give its workers another one",
        ),
    ],
)
def test_the_users_of_a_configuration(tmp_path, more, uid, problem):
    services = {"a": ServiceConfig("a", "Class", **more)}
    config = DaemonConfig(tmp_path, ControlConfig(tmp_path / "sock"), {}, "", {}, services)
    assert list(users.problems(config, uid)) == ([problem] if problem else [])
