"""Which trees of control groups there are, and what is in groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.grouptrees import make_group, mountinfo
from zocalo_daemon import cgroups

HYBRID = "5:cpu,cpuacct:/x\n4:memory:/a b\n1:name=systemd:/user.slice\n0::/user.slice/z.scope\n"


@pytest.fixture
def seen(tmp_path: Path):
    """Return a function that says what a process in these groups sees."""
    trees, proc = tmp_path / "some trees", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)

    def see(groups: str, mounts: str | None = None) -> list[cgroups.Hierarchy]:
        for line in groups.splitlines():
            make_group(trees, line)
        (proc / "self" / "cgroup").write_text(groups)
        (proc / "self" / "mountinfo").write_text(mounts or mountinfo(trees, groups))
        return cgroups.hierarchies(proc)

    see.trees = trees
    return see


def test_every_tree_with_the_own_group(seen):
    found = seen(HYBRID)
    assert [(one.unified, sorted(one.controllers), one.name(one.group)) for one in found] == [
        (False, ["cpu", "cpuacct"], "/x"),
        (False, ["memory"], "/a b"),
        (False, ["name=systemd"], "/user.slice"),
        (True, [], "/user.slice/z.scope"),
    ]
    assert [found[3].name(one) for one in found[3].above()] == ["/user.slice/z.scope", "/user.slice", "/"]


def test_version_2_has_the_controllers_that_the_group_offers(seen):
    group = make_group(seen.trees, "0::/a")
    (group / "cgroup.controllers").write_text("cpu memory pids\n")
    assert seen("0::/a")[0].controllers == {"cpu", "memory", "pids"}


def test_a_daemon_that_has_moved_is_still_in_the_group_that_it_was_given(seen):
    (one,) = seen("0::/a.service/zocalod-12-ab/daemon")
    assert one.name(one.group) == "/a.service"
    (one,) = seen("0::/a.service/zocalod-12-ab/spotfinder-0.3")
    assert one.name(one.group) == "/a.service/zocalod-12-ab/spotfinder-0.3"


def test_a_container_sees_a_part_of_a_tree(seen):
    here = seen.trees / "part"
    (here / "inner").mkdir(parents=True)
    mounts = f"2 1 0:2 /docker/x {here.as_posix().replace(' ', chr(92) + '040')} rw - cgroup2 cgroup rw\n"
    assert [one.group for one in seen("0::/docker/x/inner", mounts)] == [here / "inner"]
    assert [one.group for one in seen("0::/docker/x", mounts)] == [here]
    assert seen("0::/docker/xy", mounts) == []
    assert seen("0::/elsewhere", mounts) == []


@pytest.mark.parametrize("groups", ["", "garbage", "1:2", "0::no/slash", ":::", "0::/../up", "0::/gone"])
def test_nothing_that_the_kernel_shows_does_harm(seen, groups):
    if groups == "0::/gone":
        assert seen(groups, mountinfo(seen.trees / "other", groups)) == []
    else:
        seen(groups)
    assert seen(groups, "garbage\n1 2 3 - cgroup2\n\n") == []


def test_who_is_in_a_group_and_those_below_it(tmp_path: Path):
    for name, text in {"": "0\n12\n", "inner": "13\n", "inner/most": ""}.items():
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").write_text(text)
    assert sorted(cgroups.members(str(tmp_path))) == [12, 13]
    assert cgroups.members(str(tmp_path / "gone")) == []


def test_a_group_goes_with_those_below_it(tmp_path: Path):
    group = tmp_path / "group"
    (group / "a" / "b").mkdir(parents=True)
    assert cgroups.remove(str(group))
    assert not group.exists()
    assert cgroups.remove(str(group))
    (group / "a").mkdir(parents=True)
    (group / "a" / "busy").write_text("")
    assert not cgroups.remove(str(group))


def test_only_what_looks_like_a_daemons_is_taken_for_one(tmp_path: Path):
    for name in ("zocalod-1-ab", "system.slice"):
        (tmp_path / name / "daemon").mkdir(parents=True)
        (tmp_path / name / "a-0.1").mkdir()
    assert cgroups.of_workers(str(tmp_path / "zocalod-1-ab")) == [str(tmp_path / "zocalod-1-ab" / "a-0.1")]
    assert cgroups.of_workers(str(tmp_path / "system.slice")) == []
    assert cgroups.of_workers(str(tmp_path / "zocalod-2-ab")) == []


def test_this_machine_shows_its_groups():
    for one in cgroups.hierarchies():
        assert str(os.getpid()) in (one.group / "cgroup.procs").read_text().split()
