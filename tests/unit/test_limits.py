"""What the machine allows, read from files as the kernel shows them."""

import resource
from pathlib import Path

import pytest

from tests.grouptrees import make_group, mountinfo
from zocalo_daemon.config import limits


@pytest.fixture
def machine(tmp_path):
    """Return a function that writes files below /proc and /sys/fs/cgroup and reads the limits."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"

    def read(files: dict[str, str], groups_of_it: str = "0::/") -> limits.Limits:
        everything = {
            "proc/self/cgroup": groups_of_it + "\n",
            "proc/self/mountinfo": mountinfo(groups, groups_of_it),
            "proc/meminfo": "MemTotal:       1024 kB\nMemFree:  1 kB\n",
            "proc/sys/kernel/pid_max": "32768\n",
            "proc/sys/kernel/threads-max": "100000\n",
            **files,
        }
        for name, text in everything.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        for line in groups_of_it.splitlines():
            make_group(groups, line)
        return limits.read(proc)

    return read


def test_without_control_groups_the_kernel_counts(machine):
    found = machine({}, "")
    assert found.processes.most <= 32768
    assert (found.memory.most, found.memory.name) == (1024 * 1024, "the memory of this machine")
    assert found.descriptors.most == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_the_tightest_group_above_counts(machine):
    files = {
        "cgroup/unified/a.slice/b.service/pids.max": "max\n",
        "cgroup/unified/a.slice/pids.max": "50\n",
        "cgroup/unified/pids.max": "70\n",
        "cgroup/unified/a.slice/b.service/memory.max": "4096\n",
    }
    found = machine(files, "0::/a.slice/b.service")
    assert found.processes.most == 50
    assert found.processes.name == "pids.max of the control group /a.slice"
    assert found.processes.remedy == "set TasksMax={need} in the unit of zocalod"
    assert found.memory.most == 4096


def test_groups_of_the_first_version_have_a_tree_for_each_controller(machine):
    files = {
        "cgroup/pids/x/pids.max": "40\n",
        "cgroup/cpu,memory/y/memory.limit_in_bytes": "9223372036854771712\n",
        "cgroup/cpu,memory/memory.limit_in_bytes": "8192\n",
    }
    found = machine(files, "4:cpu,memory:/y\n3:pids:/x\n1:name=systemd:/z\n0::/")
    assert found.processes.most == 40
    assert found.memory.most == 8192


@pytest.mark.parametrize("groups", ["", "garbage", "1:2", "0::no/slash", ":::"])
def test_nothing_that_the_kernel_shows_does_harm(machine, groups):
    assert machine({"proc/meminfo": "", "proc/sys/kernel/pid_max": "x"}, groups).memory is None


def test_it_reads_this_machine():
    found = limits.read()
    assert found.memory.most > 2**20
    assert found.processes.most <= int(Path("/proc/sys/kernel/pid_max").read_text())
