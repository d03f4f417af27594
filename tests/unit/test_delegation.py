"""Where control groups can be made: layouts of machines as files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.grouptrees import make_group, mountinfo, tree
from zocalo_daemon import cgroups
from zocalo_daemon.supervision import delegation
from zocalo_daemon.supervision.groups import Groups

NAME = "zocalod-7-abcd"
V2 = "0::/system.slice/zocalod.service"
SERVICE = "system.slice/zocalod.service"
V1 = "5:cpu,cpuacct:/\n4:memory:/user\n3:pids:/p\n2:freezer:/f\n1:name=systemd:/s"


class Machine:
    """A machine on which this process is in some groups."""

    def __init__(self, directory: Path) -> None:
        self.trees, self.proc = directory / "cgroup", directory / "proc"
        (self.proc / "self").mkdir(parents=True)
        self.closed: list[Path] = []

    def set(self, lines: str, files: dict[str, str] | None = None) -> Machine:
        """Be in these groups; `files` are in the group of version 2 unless their names begin with a tree."""
        (self.proc / "self" / "cgroup").write_text(lines)
        (self.proc / "self" / "mountinfo").write_text(mountinfo(self.trees, lines))
        for line in lines.splitlines():
            group = make_group(self.trees, line)
            standard = {"cgroup.procs": f"{os.getpid()}\n", "cgroup.events": "", "cgroup.subtree_control": ""}
            for name, text in {**standard, **(files or {})}.items():
                (group / name).write_text(text)
        return self

    def plan(self) -> Groups:
        return delegation.plan(
            NAME, cgroups.hierarchies(self.proc), lambda path: path not in self.closed and path.exists()
        )

    def base(self, controllers: str = "", group: str = SERVICE) -> str:
        return str(tree(self.trees, controllers) / group / NAME)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestPlan:
    def test_a_delegated_unit(self, machine: Machine):
        base = machine.set(V2, {"cgroup.controllers": "cpu io memory pids\n"}).base()
        assert machine.plan() == Groups(base, True, memory=base, cpu=base)

    def test_only_what_the_unit_offers(self, machine: Machine):
        base = machine.set(V2, {"cgroup.controllers": "memory pids\n"}).base()
        missing = "no control group with a limit of cpu may be made"
        assert machine.plan() == Groups(base, True, memory=base, missing=missing)

    def test_a_group_with_others_in_it_cannot_pass_controllers_on(self, machine: Machine):
        files = {"cgroup.controllers": "cpu memory", "cgroup.procs": f"{os.getpid()}\n1\n"}
        found = machine.set(V2, files).plan()
        assert (found.members, found.memory, found.cpu) == (machine.base(), "", "")
        assert "has other processes in it" in found.missing
        assert (
            machine.set(V2, {**files, "cgroup.subtree_control": "memory\n"}).plan().memory == machine.base()
        )

    def test_the_topmost_group_is_left_as_it_is(self, machine: Machine):
        machine.set("0::/", {"cgroup.controllers": "cpu memory", "cgroup.subtree_control": "memory"})
        (tree(machine.trees, "") / "cgroup.events").unlink()
        found = machine.plan()
        assert (found.memory, found.cpu) == (machine.base(group=""), "")
        assert found.missing == "the topmost control group does not pass cpu on"

    def test_an_ordinary_user_without_delegation(self, machine: Machine):
        machine.set(V2)
        machine.closed = [tree(machine.trees, "") / SERVICE]
        found = machine.plan()
        assert found.bases == []
        assert found.missing.startswith(f"no control group may be made in /{SERVICE}; set Delegate=yes")

    def test_a_directory_alone_is_not_enough(self, machine: Machine):
        # Who may not write to cgroup.procs may make groups, and move nobody there (cgroups(7), delegation).
        machine.set(V2)
        machine.closed = [tree(machine.trees, "") / SERVICE / "cgroup.procs"]
        assert machine.plan().bases == []

    def test_no_groups_at_all(self, machine: Machine):
        (machine.proc / "self" / "cgroup").write_text("")
        assert machine.plan() == Groups(missing="no control groups are mounted")

    def test_version_1_has_a_tree_for_each(self, machine: Machine):
        found = machine.set(V1).plan()
        assert found == Groups(
            machine.base("freezer", "f"),
            memory=machine.base("memory", "user"),
            cpu=machine.base("cpu,cpuacct", ""),
        )

    def test_of_version_1_a_user_gets_the_tree_of_systemd(self, machine: Machine):
        machine.set(V1)
        trees = [("cpu,cpuacct", ""), ("memory", "user"), ("pids", "p"), ("freezer", "f")]
        machine.closed = [tree(machine.trees, one) / group for one, group in trees]
        found = machine.plan()
        assert found.bases == [machine.base("name=systemd", "s")]
        assert found.missing.count("may be made") == 2

    def test_both_versions_at_once(self, machine: Machine):
        found = machine.set(f"{V1}\n{V2}", {"cgroup.controllers": ""}).plan()
        assert found == Groups(
            machine.base(), True, memory=machine.base("memory", "user"), cpu=machine.base("cpu,cpuacct", "")
        )


class TestMake:
    def test_the_daemon_leaves_a_group_that_is_to_pass_controllers_on(self, machine: Machine, monkeypatch):
        planned = machine.set(V2, {"cgroup.controllers": "cpu memory"}).plan()
        written = spy(monkeypatch)
        assert delegation.make(planned) == planned
        unit = tree(machine.trees, "") / SERVICE
        assert written == [
            (f"{machine.base()}/daemon/cgroup.procs", str(os.getpid())),
            (f"{unit}/cgroup.subtree_control", "+memory"),
            (f"{unit}/cgroup.subtree_control", "+cpu"),
        ]

    def test_it_stays_where_that_is_so_already(self, machine: Machine, monkeypatch):
        files = {"cgroup.controllers": "cpu memory", "cgroup.subtree_control": "cpu memory"}
        planned = machine.set(V2, files).plan()
        written = spy(monkeypatch)
        assert delegation.make(planned) == planned
        assert written == []

    def test_it_returns_when_the_kernel_refuses(self, machine: Machine, monkeypatch):
        planned = machine.set(V2, {"cgroup.controllers": "cpu memory"}).plan()
        written = spy(monkeypatch, refuse="+memory")
        made = delegation.make(planned)
        assert (made.members, made.memory, made.cpu) == (machine.base(), "", "")
        assert "does not pass on memory and cpu: Device or resource busy" in made.missing
        assert written[-1] == (f"{tree(machine.trees, '') / SERVICE}/cgroup.procs", str(os.getpid()))
        assert not Path(machine.base(), "daemon").exists()

    def test_what_cannot_be_made_is_done_without(self, machine: Machine):
        planned = machine.set(V1).plan()
        Path(planned.memory).parent.rename(Path(planned.memory).parent.with_name("gone"))
        made = delegation.make(planned)
        assert (made.members, made.memory, made.cpu) == (planned.members, "", planned.cpu)
        assert "cannot be made: No such file" in made.missing
        made.end()
        assert not any(Path(base).exists() for base in planned.bases)

    def test_without_the_first_there_is_none(self, machine: Machine):
        planned = machine.set(V1).plan()
        Path(planned.members).parent.rename(Path(planned.members).parent.with_name("gone"))
        made = delegation.make(planned)
        assert made.bases == []
        assert not Path(planned.cpu).exists()


def spy(monkeypatch: Any, refuse: str = "") -> list[tuple[str, str]]:
    """Return what is written to files of groups from now on; the kernel does not take `refuse`."""
    written: list[tuple[str, str]] = []

    def write(file: str, text: str) -> None:
        if text == refuse:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        written.append((file, text))

    monkeypatch.setattr(cgroups, "write", write)
    return written
