"""Who may do what with a real daemon: the kernel tells users and groups, and every refusal is logged."""

from __future__ import annotations

import grp
import os
import re
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemonkit import Daemon
from tests.process.control_harness import Client
from tests.process.test_trace import node, services, submit, wait_for
from tests.waiting import wait_until
from zocalo_daemon.protocol.control import BY_SERVICE, OPERATIONS

MakeDaemon = Callable[..., Daemon]
STRANGER = 54_321  # a user that nobody is

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="takes other users' identities, which needs root")


@pytest.fixture
def groups() -> list[grp.struct_group]:
    """Three groups of this machine, other than root's."""
    return [group for group in grp.getgrall() if group.gr_gid][:3]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can enter, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def d(daemon: MakeDaemon, open_directory: Path, groups: list[grp.struct_group]) -> Daemon:
    """A daemon with services `spot`, `index` and `other`, and roles for the three groups."""
    part, whole, view = (group.gr_name for group in groups)
    quiet = {"class": "trial:Rejecter"}
    made = daemon({})
    made.socket = open_directory / "zocalod.sock"
    roles = {
        "view": [view, {"group": part, "services": ["index"]}],
        "operate": [{"group": part, "services": ["spot*"]}],
        "admin": [whole],
    }
    made.configure(
        {"spot": quiet, "index": quiet, "other": quiet},
        control={"socket": str(made.socket), "roles": roles},
    )
    return made.start()


class Stranger:
    """A control client of another user, in these groups."""

    def __init__(self, d: Daemon, gid: int = STRANGER, groups: tuple[int, ...] = ()) -> None:
        self.client = Client(connect_as(d.socket, gid, groups))
        self.role = self.client.hello["role"]
        self.number = 0

    def ask(self, op: str, **args: Any) -> tuple[str, Any, list[Any]]:
        """Return the code of the error ("ok"), the value or message, and the chunks."""
        self.number += 1
        self.client.ask(self.number, op, **args)
        chunks = []
        while "chunk" in (frame := self.client.receive()):
            chunks.append(frame["chunk"])
        if "ok" in frame:
            return "ok", frame["ok"], chunks
        return frame["error"]["code"], frame["error"]["message"], chunks


def connect_as(path: Path, gid: int, groups: tuple[int, ...]) -> socket.socket:
    """Return a connection that another user has made: the kernel remembers who connected."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(STRANGER)
                line = socket.socket(socket.AF_UNIX)
                line.connect(str(path))
                socket.send_fds(theirs, [b"x"], [line.fileno()])
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        theirs.close()
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=descriptors[0])


def test_roles_count_from_the_reload_that_brings_them_to_the_one_that_takes_them(
    daemon: MakeDaemon, open_directory: Path, groups: list[grp.struct_group]
):
    made = daemon({})
    made.socket = open_directory / "run/zocalod.sock"
    view = groups[0]
    made.configure({}, control={"socket": str(made.socket)})
    made.start()
    with pytest.raises(IndexError):  # no connection comes back
        connect_as(made.socket, view.gr_gid, ())
    made.configure({}, control={"socket": str(made.socket), "roles": {"view": [view.gr_name]}})
    made.ctl("reload")
    assert Stranger(made, view.gr_gid).role == "view"
    made.configure({}, control={"socket": str(made.socket)})
    made.ctl("reload")
    with pytest.raises(IndexError):
        connect_as(made.socket, view.gr_gid, ())


def test_a_stranger_may_nothing_and_every_refusal_is_logged(d: Daemon):
    stranger = Stranger(d)
    assert stranger.role == "none"
    for op, needed in OPERATIONS.items():
        code, said, _ = stranger.ask(op)
        assert code == "not-permitted", op
        assert said == f"{op} needs the role {needed}, and yours is none: ask for a group of control.roles"
    wait_until(lambda: d.stderr().count(f"uid {STRANGER}, pid ") >= 10)
    assert "was refused start: start needs the role operate, and yours is none" in d.stderr()


@pytest.mark.parametrize("how", ["primary", "supplementary"])
def test_a_group_has_its_role(d: Daemon, groups: list[grp.struct_group], how: str):
    _, whole, view = (
        Stranger(d, group.gr_gid) if how == "primary" else Stranger(d, groups=(9999, group.gr_gid))
        for group in groups
    )
    assert (whole.role, view.role) == ("admin", "view")
    assert view.ask("status")[0] == "ok"
    assert view.ask("stop", targets=["spot"])[0] == "not-permitted"
    assert whole.ask("restart", targets=["spot"])[0] == "ok"
    assert whole.ask("reload")[0] == "ok"
    for change in ("restart targets=['spot']", "reload"):
        assert re.search(rf"uid {STRANGER}, pid \d+ \(.*\) asked for {re.escape(change)}$", d.stderr(), re.M)


def test_a_role_for_some_services_is_one_for_these_alone(d: Daemon, groups: list[grp.struct_group]):
    part = Stranger(d, groups[0].gr_gid)
    before = {name: one["pid"] for name, one in d.instances().items()}
    assert part.role == "operate"
    assert part.ask("restart", targets=["spot"])[0] == "ok"
    for op, args in {
        "restart": {"targets": ["spot", "other"]},
        "stop": {"targets": ["all"]},
        "start": {"targets": ["index"]},
        "scale": {"sizes": {"other": 2}},
    }.items():
        code, said, _ = part.ask(op, **args)
        assert (code, said.partition(" for ")[0]) == ("not-permitted", f"{op} needs the role operate"), op
        assert f"was refused {op}: {said}" in d.stderr()
    for op in sorted(set(OPERATIONS) - BY_SERVICE):
        code, said, _ = part.ask(op)
        assert code == "not-permitted", op
        assert "for all services, and yours is operate for some of them only" in said
    after = {name: one["pid"] for name, one in d.instances().items()}
    assert {name for name in before if before[name] != after[name]} == {"spot/0"}


def test_a_limited_view_shows_nothing_else(d: Daemon, groups: list[grp.struct_group]):
    part = Stranger(d, groups[0].gr_gid)
    _, document, _ = part.ask("status")
    assert [service["name"] for service in document["services"]] == ["index", "spot"]
    assert document["transports"] == []
    assert "state_dir" not in document["daemon"]
    d.ctl("restart", "all")
    for op in ("logs", "events"):
        code, _, chunks = part.ask(op)
        assert code == "ok"
        assert {one["id"].partition("/")[0] for one in chunks} <= {"spot", "index"}
        assert part.ask(op, targets=["spot"])[0] == "ok"
        assert part.ask(op, targets=["other"])[0] == "not-permitted"
    assert chunks, "no event of its services"
    assert part.ask("status", services=["o*"])[0] == "not-permitted"
    assert part.ask("logs", targets=["zocalod"])[0] == "not-permitted"
    for op, args in {"status": {"services": ["othr"]}, "restart": {"targets": ["othr"]}}.items():
        code, said, _ = part.ask(op, **args)
        assert (code, said) == ("no-such-service", "no service that you may see is othr")


def test_a_trace_shows_the_services_that_the_caller_may_see(
    daemon: MakeDaemon, open_directory: Path, groups: list[grp.struct_group]
):
    view, part, nobody = groups
    d = daemon({})
    d.socket = open_directory / "zocalod.sock"
    roles = {"view": [view.gr_name, {"group": part.gr_name, "services": ["second"]}]}
    d.configure(services(), control={"socket": str(d.socket), "roles": roles})
    d.start()
    submit(d, "one-1", {"1": node("first", 2), "2": node("second", 3), "3": node("third")})
    submit(d, "two-1", {"1": node("third")})
    for name, runs in (("one-1", 3), ("two-1", 1)):
        wait_for(d, name, "done", runs)

    def seen(client: Stranger, recipe: str) -> tuple[set[str], list[str]]:
        code, found, _ = client.ask("trace", recipe=recipe)
        assert code == "ok", found
        return {line["instance"] for line in found["lines"]}, found["recipes"]

    whole, limited = (Stranger(d, group.gr_gid) for group in (view, part))
    assert (whole.role, limited.role) == ("view", "view")
    assert seen(whole, "one-1") == ({"dispatcher/0", "first/0", "second/0", "third/0"}, ["one-1"])
    assert seen(limited, "one-1") == ({"second/0"}, ["one-1"])
    assert seen(limited, "two-1") == (set(), [])  # not even that there is one
    assert seen(limited, "") == ({"second/0"}, [])
    assert Stranger(d, nobody.gr_gid).ask("trace", recipe="one-1")[0] == "not-permitted"


def test_only_the_sockets_of_a_daemon_with_roles_are_open_to_others(daemon: MakeDaemon, tmp_path: Path):
    file = tmp_path / "out"
    d = daemon({"record": {"class": "trial:Recorder", "environment": {"file": str(file), "queue": "in"}}})
    (d.directory / "run").mkdir(mode=0o700)
    d.socket = d.directory / "run" / "zocalod.sock"
    d.configure(
        {"record": {"class": "trial:Recorder", "environment": {"file": str(file), "queue": "in"}}},
        control={"socket": str(d.socket)},
    )
    umask = os.umask(0)
    try:
        d.start()
    finally:
        os.umask(umask)
    d.ctl("send", "in", "1")
    wait_until(file.exists)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666  # a service's own: the umask is the operator's
    d.kill("record/0")
    d.wait_state("record/0", "ready")
    made = [d.state_dir, *d.state_dir.rglob("*"), *d.socket.parent.iterdir()]
    assert len(made) > 5
    loose = {str(one): oct(one.lstat().st_mode) for one in made if one.lstat().st_mode & 0o077}
    assert loose == {}
