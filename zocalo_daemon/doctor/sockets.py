"""The control socket and the relay's: stale, foreign, open to others, closed to this user."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from zocalo_daemon.config.places import relay_sockets
from zocalo_daemon.doctor.access import SEARCH, may, replaceable, user_name
from zocalo_daemon.doctor.findings import Finding, ok, problem, warning
from zocalo_daemon.doctor.situation import Situation

PATIENCE = 1.0  # seconds for a connection


def check(situation: Situation) -> Iterator[Finding]:
    """Yield what is wrong with the sockets of the configuration, and with the one that zocaloctl uses."""
    config = situation.config
    configured = config.control.socket if config else situation.socket
    if not _same(configured, situation.socket) and (situation.named or situation.answer is None):
        text = f"zocaloctl uses this one, and the configuration says {configured}"
        yield problem("socket", situation.socket, text, f"export ZOCALO_SOCKET={configured}")
    yield from _directory(configured.parent, situation)
    relays = relay_sockets(configured, config.relay_processes if config else 1)
    found = [finding for path in (configured, *relays) for finding in _socket(path, situation)]
    if not found and situation.answer:
        found = [ok("socket", configured, "is there, and nobody else can replace it")]
    yield from found


def _same(one: Path, other: Path) -> bool:
    return one == other or one.resolve() == other.resolve()


def _directory(directory: Path, situation: Situation) -> Iterator[Finding]:
    try:
        about = directory.stat()
    except OSError as e:
        if situation.answer is None and not isinstance(e, FileNotFoundError):
            yield problem("socket", directory, f"cannot be looked at: {e.strerror}", f"namei -l {directory}")
        return
    if replaceable(about, situation.user):
        text = (
            f"others could replace the sockets in it: it belongs to {user_name(about.st_uid)}, "
            f"with mode {stat.S_IMODE(about.st_mode):o}"
        )
        do = f"chown {situation.user.name} {directory}; chmod 755 {directory}"
        yield problem("socket", directory, text, do)
    for parent in directory.parents:
        if replaceable(parent.stat(), situation.user):
            text = f"others could replace {directory}, which is below it"
            yield warning("socket", parent, text, f"chmod o-w {parent}, or set control.socket")
    if not may(about, situation.user, SEARCH):
        yield problem(
            "socket", directory, f"{situation.user.name} may not enter it", f"chmod 755 {directory}"
        )


def _socket(path: Path, situation: Situation) -> Iterator[Finding]:
    try:
        about = path.lstat()
    except OSError:
        if situation.answer and situation.answer.role:
            yield problem("socket", path, "is gone, though the daemon runs", "systemctl restart zocalod")
        return
    if not stat.S_ISSOCK(about.st_mode):
        text = "is no socket; zocalod does not start before it is moved away"
        yield problem("socket", path, text, f"mv {path} {path}.old")
        return
    answer = 0 if situation.status else _knock(path)
    if answer == errno.ECONNREFUSED:
        yield warning("socket", path, "is stale: a daemon was killed; the next one replaces it", "zocalod")
    elif answer in (errno.EACCES, errno.EPERM) and not path.name.startswith("relay"):
        text = (
            f"mode {stat.S_IMODE(about.st_mode):o} of {user_name(about.st_uid)} is closed to "
            f"{user_name(os.geteuid())}"
        )
        yield problem("socket", path, text, "add a group to control.roles, and restart the daemon")
    elif answer == errno.EAGAIN:
        yield problem(
            "socket", path, "takes no connection: what listens there is stopped or stuck", "ss -xlp"
        )


def _knock(path: Path) -> int:
    """Connect and hang up at once; return the error number, 0 for none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        knocking.settimeout(PATIENCE)
        return knocking.connect_ex(str(path))
