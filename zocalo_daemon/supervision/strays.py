"""What workers leave behind when they end: processes that they have started, and that go with them.

The process group of a worker is killed with it (`process`). What has left that becomes a child of the
supervisor, the nearest subreaper, once the process in between has ended, and is found here: by the serial in
its environment, or if that was cleared by its session or the worker's log pipe. A process that belongs to a
living worker shows the serial of that one, and is never touched.

Where a worker has a control group (`groups`), whatever is in that goes with it, however it is disguised.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from zocalo_daemon import cgroups
from zocalo_daemon.strays import (
    CLEAN,
    Found,
    in_group,
    is_without_leader,
    kill,
    listed,
    mark_of,
    processes,
    serial_text,
)
from zocalo_daemon.supervision.groups import Groups
from zocalo_daemon.supervision.worker_process import Process
from zocalo_daemon.values import Record, field

PAUSE = 0.02  # seconds between two looks: many workers that end at once share one
LOOKS = 100  # then what cannot be killed stays: it sleeps in the kernel, or another user's rights protect it


class Ended(Record):
    """A worker that has ended, and what of it was killed since; `pipe` is the inode of its log pipe."""

    serial: int
    instance: str
    pid: int
    pipe: int
    group: str = ""  # its control group, if there is something in it
    killed: dict[Found, str] = field(default_factory=dict)
    clean: int = 0
    looks: int = 0

    def is_done(self) -> bool:
        """Return whether nothing of it is left, or nothing that could be killed."""
        return (self.clean >= CLEAN and not self.group) or self.looks >= LOOKS


class Strays:
    """Looks for what workers have left as long as there is some.

    Args:
        life: the marker of this daemon.
        groups: where its workers have control groups.
        after: calls a function after some seconds.
        say: logs a line at a level.
    """

    def __init__(
        self,
        life: str,
        groups: Groups,
        after: Callable[[float, Callable[[], None]], None],
        say: Callable[[int, str], None],
    ) -> None:
        self._life = life
        self._groups = groups
        self._after = after
        self._say = say
        self._ended: list[Ended] = []

    def worker_ended(self, worker: Process) -> None:
        """Look for what a worker has left, soon."""
        pipe = worker.log.inode() if worker.log else 0
        worker.oom_kills = self._groups.oom_kills(worker.serial, worker.instance)
        group = self._groups.left(worker.serial, worker.instance)
        self.take_over([[worker.serial, worker.instance, worker.pid, pipe, group]])

    def hand_over(self) -> list[list[Any]]:
        """Return whose strays are still looked for."""
        return [[one.serial, one.instance, one.pid, one.pipe, one.group] for one in self._ended]

    def take_over(self, ended: list[list[Any]]) -> None:
        """Look for them anew."""
        if ended and not self._ended:
            self._after(PAUSE, self._look)
        self._ended += [Ended(*one) for one in ended]

    def _look(self) -> None:
        """Look once for all of them, kill what is found, and look again until nothing is."""
        with contextlib.suppress(OSError):  # no descriptors left: the next look counts
            below = _below(os.getpid(), processes())
            self._kill({one: owner for one in below if (owner := self._owner(one))} | self._in_groups())
        for ended in self._ended:
            ended.looks += 1
            if ended.group:
                cgroups.kill(ended.group)
                ended.group = self._groups.left(ended.serial, ended.instance)
        done = [one for one in self._ended if one.is_done()]
        self._ended = [one for one in self._ended if one not in done]
        for ended in done:
            self._tell(ended)
        if self._ended:
            self._after(PAUSE, self._look)

    def _in_groups(self) -> dict[Found, Ended]:
        return {one: ended for ended in self._ended if ended.group for one in in_group(ended.group)}

    def _kill(self, found: dict[Found, Ended]) -> None:
        for ended in self._ended:
            ended.clean += 1
        for one, ended in found.items():
            ended.clean = 0
            ended.killed.setdefault(one, str(one))
            for descriptor in kill([one]):
                os.close(descriptor)

    def _owner(self, found: Found) -> Ended | None:
        """Return the worker that has left a process, or None if it is that of a living one."""
        life, serial = mark_of(found)
        if life == self._life:
            return next((one for one in self._ended if serial == serial_text(one.serial)), None)
        if is_without_leader(found):
            for one in self._ended:
                if found.session == one.pid:
                    return one
        pipes = set(_pipes(found.pid))
        return next((one for one in self._ended if one.pipe in pipes), None)

    def _tell(self, ended: Ended) -> None:
        if not ended.killed:
            return
        what = f"{ended.instance} (pid {ended.pid}) has left processes behind"
        done = "killed" if ended.clean >= CLEAN and not ended.group else "they cannot be killed"
        self._say(30, f"{what}, {done}: {listed(list(ended.killed.values()))}")


def _below(pid: int, found: Iterable[Found]) -> list[Found]:
    """Return those that descend from a process."""
    children: dict[int, list[Found]] = {}
    for one in found:
        children.setdefault(one.parent, []).append(one)
    below: list[Found] = []
    parents = [pid]
    while parents:
        family = children.pop(parents.pop(), [])
        below += family
        parents += [one.pid for one in family]
    return below


def _pipes(pid: int) -> Iterator[int]:
    """Yield the inode of every pipe that a process has open."""
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                opened = str(descriptor.readlink())
                if opened.startswith("pipe:["):
                    yield int(opened[6:-1])
