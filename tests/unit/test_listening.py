"""Which descriptors a service manager has passed."""

import pytest

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.listening import passed


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, {}),
        ({"LISTEN_FDS": "1"}, {}),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "8"}, {}),
        ({"LISTEN_FDS": "0", "LISTEN_PID": "7"}, {}),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "7"}, {3: ""}),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "7", "LISTEN_FDNAMES": "a:control"}, {3: "a", 4: "control"}),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "7", "LISTEN_FDNAMES": "a"}, {3: "a", 4: ""}),
    ],
)
def test_they_are_for_one_process(environ, found):
    assert passed(environ, 7) == found


@pytest.mark.parametrize("count", ["", "-1", "many"])
def test_nonsense_is_an_error(count):
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        passed({"LISTEN_FDS": count, "LISTEN_PID": "7"}, 7)
