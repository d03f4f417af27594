"""The kernel's counters of processes that were killed for lack of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.grouptrees import make_group, mountinfo
from zocalo_daemon.supervision import oom
from zocalo_daemon.supervision.oom import Evidence, OomWatch

V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 0\nmax 9\noom 5\noom_kill {}\noom_group_kill 7\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("text", [V1, V2, "pgfault 5\noom_kill {}\n"])
def test_a_count_that_has_gone_up_is_evidence_once_for_each_kill(tmp_path: Path, text: str):
    file, clock = tmp_path / "counter", Clock()
    file.write_text(text.format(3))
    watch = OomWatch(file, certain=True, clock=clock)
    assert watch.look() is Evidence.NONE
    file.write_text(text.format(5))
    assert [watch.look() for _ in range(3)] == [Evidence.CERTAIN, Evidence.CERTAIN, Evidence.NONE]


def test_a_kill_that_no_worker_claims_is_soon_forgotten(tmp_path: Path):
    file, clock = tmp_path / "counter", Clock()
    file.write_text(V2.format(0))
    watch = OomWatch(file, certain=False, clock=clock)
    file.write_text(V2.format(2))
    assert watch.look() is Evidence.PROBABLE
    clock.now = 2.0
    assert watch.look() is Evidence.NONE


def test_a_counter_that_cannot_be_read_is_no_evidence(tmp_path: Path):
    watch = OomWatch(tmp_path / "none", certain=True, clock=Clock())
    assert watch.look() is Evidence.NONE


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("4:memory:/daemon\n0::/\n", "memory/daemon/memory.oom_control"),
        ("5:cpu,cpuacct:/x\n4:hugetlb,memory:/daemon\n", "hugetlb,memory/daemon/memory.oom_control"),
        ("0::/system.slice/zocalod.service\n", "unified/system.slice/zocalod.service/memory.events"),
        ("0::/a.service/zocalod-1-ab/daemon\n", "unified/a.service/memory.events"),
        ("0::/\n", None),  # the root has no such file
        ("", None),
    ],
)
def test_the_counter_of_the_own_control_group_is_found(tmp_path: Path, groups: str, file: str | None):
    trees, proc = tmp_path / "cgroup", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(groups)
    (proc / "self" / "mountinfo").write_text(mountinfo(trees, groups))
    (proc / "vmstat").write_text("oom_kill 0\n")
    for line in groups.splitlines():
        make_group(trees, line)
    if file:
        (trees / file).write_text(V1.format(0))
    watch = oom.own(Clock(), proc)
    (trees / file if file else proc / "vmstat").write_text("oom_kill 1\n")
    assert watch.look() is (Evidence.CERTAIN if file else Evidence.PROBABLE)


def test_this_machine_has_a_counter():
    assert oom.own(Clock()).look() is Evidence.NONE
