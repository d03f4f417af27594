import grp
import os
from pathlib import Path

import pytest

from zocalo_daemon.config.schema import ControlConfig, GrantConfig
from zocalo_daemon.control.roles import Rights, rights_of
from zocalo_daemon.errors import NoSuchService, NotPermitted
from zocalo_daemon.protocol import control as protocol

STRANGER = 4_000_000
SPOTS = Rights("view", (("operate", ("spot*",)),))
SPOTS_ONLY = Rights("none", (("operate", ("spot*", "index")), ("view", ("d*",))))


@pytest.fixture
def control():
    names = [group.gr_name for group in grp.getgrall()][:3]
    roles = {
        "view": (GrantConfig(names[0]), GrantConfig("no-such-group")),
        "operate": (GrantConfig(names[1]), GrantConfig(names[2], ("spot*",))),
    }
    return ControlConfig(Path("socket"), roles)


def numbers(control, role, place=0):
    return {grp.getgrnam(control.roles[role][place].group).gr_gid}


def test_root_and_the_daemons_own_user_are_admin(control):
    assert rights_of(control, 0, set()) == Rights("admin")
    assert rights_of(control, os.getuid(), set()) == Rights("admin")


def test_strangers_may_nothing(control):
    assert rights_of(control, STRANGER, {STRANGER}) == Rights()
    nobody = rights_of(ControlConfig(Path("socket")), STRANGER, {STRANGER})
    assert nobody.role == "none"
    assert all(nobody.objection(op) for op in protocol.OPERATIONS)


def test_a_group_gives_its_role_and_the_highest_one_counts(control):
    assert rights_of(control, STRANGER, numbers(control, "view")).role == "view"
    assert rights_of(control, STRANGER, numbers(control, "operate")).role == "operate"
    both = numbers(control, "view") | numbers(control, "operate")
    assert rights_of(control, STRANGER, both) == Rights("operate")


def test_a_group_may_have_a_role_for_some_services_only(control):
    some = rights_of(control, STRANGER, numbers(control, "operate", 1))
    assert some == Rights("none", (("operate", ("spot*",)),))
    more = rights_of(control, STRANGER, numbers(control, "operate", 1) | numbers(control, "view"))
    assert more == SPOTS


@pytest.mark.parametrize(
    ("rights", "service", "role"),
    [
        (SPOTS, "spotfinder", "operate"),
        (SPOTS, "dispatcher", "view"),
        (SPOTS_ONLY, "spot", "operate"),
        (SPOTS_ONLY, "index", "operate"),
        (SPOTS_ONLY, "index2", "none"),
        (SPOTS_ONLY, "dispatcher", "view"),
        (SPOTS_ONLY, "Spot", "none"),
        (Rights("admin", (("view", ("*",)),)), "spot", "admin"),
    ],
)
def test_the_highest_role_that_matches_counts(rights, service, role):
    assert rights.on(service) == role


def test_the_hello_tells_the_highest_role():
    assert SPOTS_ONLY.role == "operate"
    assert Rights().role == "none"


@pytest.mark.parametrize("op", sorted(protocol.OPERATIONS))
def test_what_is_not_about_services_needs_the_whole_daemon(op):
    problem = Rights("none", (("admin", ("*",)),)).objection(op)
    if op in protocol.BY_SERVICE:
        assert problem is None
    else:
        assert "for all services, and yours is admin for some of them only" in problem.message


def test_every_service_of_an_operation_counts():
    SPOTS.check("restart", ["spot", "spotfinder"])
    with pytest.raises(NotPermitted) as refused:
        SPOTS.check("restart", ["spot", "dispatcher"])
    said = "restart needs the role operate for dispatcher, and yours there is view: ask for a group"
    assert refused.value.message.startswith(said)
    assert refused.value.data == {"role": "view", "needed": "operate", "service": "dispatcher"}


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("spot/0", True),
        ("index/12", True),
        ("other/0", False),
        ("zocalod", False),
        ("forkserver default", False),
    ],
)
def test_who_sees_some_services_sees_nothing_of_the_daemon(source, seen):
    assert SPOTS_ONLY.sees(source) is seen
    assert SPOTS.sees(source)


def test_a_name_is_not_hinted_at_to_who_may_not_see_it():
    with (
        pytest.raises(NoSuchService, match="no service that you may see is dispatchr"),
        SPOTS_ONLY.discreet(),
    ):
        raise NoSuchService("did you mean dispatcher?", {"pattern": "dispatchr"})
    with pytest.raises(NoSuchService, match="did you mean"), SPOTS.discreet():
        raise NoSuchService("did you mean dispatcher?", {"pattern": "dispatchr"})
