"""The state directory: owner, mode, room, lock, and files from the future."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from zocalo_daemon.doctor.access import READ, SEARCH, WRITE, may, path_problem, user_name
from zocalo_daemon.doctor.findings import Finding, ok, problem, warning
from zocalo_daemon.doctor.situation import LOCK, Situation, command_of, lock_holder
from zocalo_daemon.supervision import stops

WHAT = "state directory"
MIB = 2**20
LITTLE, VERY_LITTLE = 1024 * MIB, 64 * MIB  # bytes left
FEW, VERY_FEW = 10_000, 500  # inodes left
AHEAD = 300.0  # seconds that a file may be younger than now: clocks of file servers differ a little
LOOKED_AT = 5000  # files


def check(situation: Situation) -> Iterator[Finding]:
    """Yield what is wrong with the state directory, without trying to write."""
    config = situation.config
    directory = config.state_dir if config else None
    if directory is None:
        told = situation.status.get("daemon", {}).get("state_dir")
        directory = Path(told) if told else None
    if directory is None:
        return
    try:
        about = directory.stat()
    except FileNotFoundError:
        yield _absent(directory, situation)
        return
    except OSError as e:
        yield problem(
            WHAT, directory, f"cannot be looked at: {(e.strerror or '').lower()}", f"namei -l {directory}"
        )
        return
    if not stat.S_ISDIR(about.st_mode):
        yield problem(WHAT, directory, "is no directory", "move it away, or set state_dir")
        return
    found = [*_access(directory, about, situation), *_room(directory), *_lock(directory, situation)]
    found += _future(directory, time.time())
    yield from found or [ok(WHAT, directory, "belongs to the daemon, with room enough")]


def _absent(directory: Path, situation: Situation) -> Finding:
    parent = next(one for one in directory.parents if one.exists())
    if may(parent.stat(), situation.user, WRITE | SEARCH):
        return ok(WHAT, directory, "is not there yet; zocalod will make it")
    text = f"is not there, and {situation.user.name} may not make it in {parent}"
    return problem(WHAT, directory, text, f"install -d -m 700 -o {situation.user.name} {directory}")


def _access(directory: Path, about: os.stat_result, situation: Situation) -> Iterator[Finding]:
    user = situation.user
    if about.st_uid != user.uid:
        text = f"belongs to {user_name(about.st_uid)}, not to {user.name}, whose daemon it is"
        yield warning(WHAT, directory, text, f"chown -R {user.name} {directory}")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        text = f"mode {stat.S_IMODE(about.st_mode):o} lets others put in and take out messages"
        yield problem(WHAT, directory, text, f"chmod 700 {directory}")
    elif about.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        text = f"mode {stat.S_IMODE(about.st_mode):o} lets others look at messages"
        yield warning(WHAT, directory, text, f"chmod 700 {directory}")
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        text = "is on a file system that is mounted read-only"
        yield problem(WHAT, directory, text, f"findmnt -T {directory}; dmesg | tail")
    elif closed := path_problem(directory, user, READ | WRITE | SEARCH):
        yield problem(WHAT, closed[0], closed[1], f"chown {user.name} {directory}; chmod 700 {directory}")


def _room(directory: Path) -> Iterator[Finding]:
    yield from room(directory, os.statvfs(directory))


def room(directory: Path, about: os.statvfs_result) -> Iterator[Finding]:
    """Yield whether the file system of a directory is full, or nearly."""
    free = about.f_bavail * about.f_frsize
    if free < LITTLE:
        text = f"{free / MIB:.0f} MiB are left on its file system"
        judge = problem if free < VERY_LITTLE else warning
        yield judge(WHAT, directory, text, f"df -h {directory}, and make room")
    if about.f_files and about.f_favail < FEW:
        text = f"{about.f_favail} inodes are left on its file system"
        judge = problem if about.f_favail < VERY_FEW else warning
        yield judge(WHAT, directory, text, f"df -i {directory}, and remove files")


def _lock(directory: Path, situation: Situation) -> Iterator[Finding]:
    try:
        holder = lock_holder(directory / LOCK)
    except OSError:
        return  # no daemon has ever run here, or this user may not know
    if holder is None or holder == situation.pid:
        return
    command = command_of(holder) or "another user's"
    if not stops.state(holder):
        # The lock belongs to the open file, which a child may have inherited (flock(2)).
        text = f"pid {holder} has taken its lock and ended, and something that it had started still holds it"
        yield problem(WHAT, directory, text, f"fuser -v {directory / LOCK}; end that process")
    elif stops.is_stopped(holder):
        text = f"its daemon, pid {holder} ({command}), is stopped by a signal"
        yield problem(WHAT, directory, text, f"kill -CONT {holder}")
    elif situation.answer is None:
        text = f"pid {holder} ({command}) holds it, and does not answer on {situation.socket}"
        yield problem(
            WHAT, directory, text, f"find its socket: ss -xlp | grep {holder}; or end it: kill {holder}"
        )
    else:
        text = f"pid {holder} ({command}) holds it, and pid {situation.pid} answers on {situation.socket}"
        yield problem(WHAT, directory, text, "give each daemon a state_dir and control.socket of its own")


def _future(directory: Path, now: float) -> Iterator[Finding]:
    """Yield whether files come from the future: then the clock was wrong once, or is now."""
    count, latest, worst = 0, 0.0, directory
    for parent, _, names in os.walk(directory):
        for name in names:
            count += 1
            try:
                changed = (Path(parent) / name).lstat().st_mtime
            except OSError:
                continue
            if changed > latest:
                latest, worst = changed, Path(parent) / name
        if count > LOOKED_AT:
            break
    if latest > now + AHEAD:
        text = f"was changed {latest - now:.0f} s in the future: the clock is wrong, or was"
        yield warning("clock", worst, text, "date; timedatectl")
