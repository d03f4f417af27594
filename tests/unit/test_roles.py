import grp
import os
from pathlib import Path

import pytest

from zocalo_daemon.config.schema import ControlConfig
from zocalo_daemon.control.roles import role_of

STRANGER = 4_000_000


@pytest.fixture
def control():
    names = [group.gr_name for group in grp.getgrall()][:2]
    roles = {"view": (names[0], "no-such-group"), "operate": (names[1],)}
    return ControlConfig(Path("socket"), roles)


def numbers(control, role):
    return {grp.getgrnam(control.roles[role][0]).gr_gid}


def test_root_and_the_daemons_own_user_are_admin(control):
    assert role_of(control, 0, set()) == "admin"
    assert role_of(control, os.getuid(), set()) == "admin"


def test_strangers_may_nothing(control):
    assert role_of(control, STRANGER, {STRANGER}) == "none"
    assert role_of(ControlConfig(Path("socket")), STRANGER, {STRANGER}) == "none"


def test_a_group_gives_its_role_and_the_highest_one_counts(control):
    assert role_of(control, STRANGER, numbers(control, "view")) == "view"
    assert role_of(control, STRANGER, numbers(control, "operate")) == "operate"
    both = numbers(control, "view") | numbers(control, "operate")
    assert role_of(control, STRANGER, both) == "operate"
