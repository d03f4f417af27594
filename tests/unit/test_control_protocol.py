"""Hello, frames and roles of the control protocol."""

import pytest

from zocalo_daemon.errors import NoSuchService, NotRunning, ProtocolError, exit_status_of
from zocalo_daemon.protocol import control


@pytest.mark.parametrize(("theirs", "agreed"), [([1, 1], 1), ([1, 9], 1), ([0, 1], 1), ([-5, 3], 1)])
def test_the_highest_common_version_is_agreed_on(theirs, agreed):
    version, hello = control.agree({"hello": {"versions": theirs, "client": "x"}, "later": "ignored"})
    assert version == agreed
    assert hello["client"] == "x"


@pytest.mark.parametrize("theirs", [[2, 3], [0, 0]])
def test_without_a_common_version_both_are_named(theirs):
    with pytest.raises(ProtocolError, match=f"speaks {theirs[0]} to {theirs[1]}"):
        control.agree({"hello": {"versions": theirs}})


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"hello": None},
        {"hello": []},
        {"hello": {}},
        {"hello": {"versions": 1}},
        {"hello": {"versions": [1]}},
        {"hello": {"versions": [1, 1, 1]}},
        {"hello": {"versions": ["1", "1"]}},
        {"hello": {"versions": [True, True]}},
        {"id": 1, "op": "status", "args": {}},
    ],
)
def test_what_is_no_hello_is_refused(frame):
    with pytest.raises(ProtocolError, match="must be a hello"):
        control.agree(frame)


def test_both_hellos_agree_with_each_other():
    assert control.agree(control.client_hello("c"))[0] == control.VERSIONS[1]
    assert control.agree(control.daemon_hello("1.2", "view"))[1]["role"] == "view"


def test_every_operation_needs_a_role_that_exists():
    assert set(control.OPERATIONS.values()) <= set(control.ROLES[1:])


def test_looking_needs_less_than_changing_and_deleting_needs_most():
    assert control.OPERATIONS["status"] == "view"
    assert control.OPERATIONS["send"] == "operate"
    assert control.OPERATIONS["dlq.purge"] == "admin"


def test_an_error_carries_what_programs_need():
    frame = control.error(3, NoSuchService("no service x", {"pattern": "x"}))
    assert frame == {
        "id": 3,
        "error": {
            "code": "no-such-service",
            "message": "no service x",
            "data": {"pattern": "x"},
            "retryable": False,
        },
    }
    assert control.error(0, NotRunning("gone"))["error"]["retryable"] is True


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("failed", 1),
        ("usage", 2),
        ("not-permitted", 4),
        ("no-such-service", 5),
        ("not-running", 7),
        ("of the future", 1),
    ],
)
def test_codes_become_exit_statuses(code, status):
    assert exit_status_of(code) == status
