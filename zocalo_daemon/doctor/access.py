"""Who may read, write and replace what, by owners and modes (path_resolution(7)).

The doctor often runs as root, who may everything, while the daemon runs as somebody else.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import NamedTuple, Protocol

from zocalo_daemon.config import places

READ, WRITE, SEARCH = 4, 2, 1


class About(Protocol):
    """What is asked of an os.stat_result."""

    @property
    def st_mode(self) -> int:
        """Kind and mode."""

    @property
    def st_uid(self) -> int:
        """The owner."""

    @property
    def st_gid(self) -> int:
        """The group."""


class Account(NamedTuple):
    """A user and all groups that it is in."""

    uid: int
    groups: frozenset[int]

    @property
    def name(self) -> str:
        """Return the name of the user, or its number."""
        return user_name(self.uid)


def account(uid: int) -> Account:
    """Return a user with the groups that the group database gives it; of this process's user its own."""
    if uid == os.geteuid():
        return Account(uid, frozenset({os.getegid(), *os.getgroups()}))
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(uid, frozenset())
    return Account(uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def user_name(uid: int) -> str:
    """Return the name of a user, or its number as text."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, or its number as text."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def may(about: About, who: Account, bits: int) -> bool:
    """Tell whether the mode lets somebody do all of `bits`; access lists (acl(5)) are not looked at."""
    if who.uid == 0:
        return True
    shift = 6 if about.st_uid == who.uid else 3 if about.st_gid in who.groups else 0
    return (about.st_mode >> shift) & bits == bits


def replaceable(about: About, who: Account) -> bool:
    """Tell whether somebody besides root and `who` can replace files in a directory."""
    return places.replaceable(about.st_mode, about.st_uid, who.uid)


def path_problem(path: Path, who: Account, bits: int) -> tuple[Path, str] | None:
    """Return which directory on the way to a path, or which mode of its own, stops somebody; None if nothing.

    Raises:
        OSError: this process cannot look there itself.
    """
    for directory in reversed(path.parents):
        about = directory.stat()
        if not may(about, who, SEARCH):
            return directory, f"the user {who.name} may not enter it ({_mode(about)})"
    about = path.stat()
    if not may(about, who, bits):
        verb = "write to" if bits & WRITE else "read"
        return path, f"the user {who.name} may not {verb} it ({_mode(about)})"
    return None


def _mode(about: os.stat_result) -> str:
    bits = stat.S_IMODE(about.st_mode)
    return f"mode {bits:o}, of {user_name(about.st_uid)}:{group_name(about.st_gid)}"
