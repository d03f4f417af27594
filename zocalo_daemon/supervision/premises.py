"""What a daemon has from its start to its end, and through every replacement of its code."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.supervision import life
from zocalo_daemon.supervision.groups import Groups
from zocalo_daemon.supervision.handover import Leaving, Taking
from zocalo_daemon.supervision.life import Life
from zocalo_daemon.values import Value, field

ENTER = 0o011  # what others need of a directory to reach a socket in it


class Premises(Value):
    """The sockets and the lock of a daemon.

    Args:
        control, relay: bound and listening, at `control_path` and `relay_path`.
        more_relays: the sockets of relays beside the first one, with their paths.
        file: the configuration file that was named, for a reload.
        umask: that of the services.
        life: the lock, and what the processes of this daemon are known by.
        groups: where workers get control groups.
        started: monotonic seconds.
        passed: the control socket is systemd's, which keeps it when we end.
    """

    control: socket.socket
    control_path: Path
    relay: socket.socket
    relay_path: Path
    file: Path | None
    umask: int
    life: Life
    groups: Groups
    started: float
    more_relays: dict[Path, socket.socket] = field(default_factory=dict)
    passed: bool = False

    def relay_at(self, number: int) -> tuple[Path, socket.socket]:
        """Return where a relay listens, and its socket; the first one has the number 0."""
        return [(self.relay_path, self.relay), *self.more_relays.items()][number]

    def let_in(self, number: int) -> None:
        """Let workers of other users connect to a relay; it asks everybody for its secret."""
        _add(self.relay_path.parent, ENTER)
        _add(self.relay_at(number)[0], 0o666)

    def open_to_others(self, others: bool) -> None:
        """Let everybody connect to the control socket, where roles decide, or nobody but our own user."""
        with contextlib.suppress(OSError):  # systemd may have made it for root: then the unit has said who
            if others:
                _add(self.control_path.parent, ENTER)
            self.control_path.chmod(0o666 if others else 0o600)

    def close(self) -> None:
        """End what is left, remove the sockets and let go of the lock."""
        life.end(self.life)
        self.groups.end()
        own = [] if self.passed else [self.control_path]
        for path in (*own, self.relay_path, *self.more_relays):
            path.unlink(missing_ok=True)
        os.close(self.life.lock)

    def hand_over(self, leaving: Leaving) -> dict[str, Any]:
        """Return what `take_over` makes the same premises of."""
        return {
            "control": leaving.keep(self.control),
            "control_path": self.control_path,
            "relay": leaving.keep(self.relay),
            "relay_path": self.relay_path,
            "more_relays": [[path, leaving.keep(one)] for path, one in self.more_relays.items()],
            "file": self.file,
            "umask": self.umask,
            "lock": leaving.keep(self.life.lock),
            "marker": self.life.marker,
            "secret": self.life.secret,
            "groups": self.groups,
            "started": self.started,
            "passed": self.passed,
        }

    @classmethod
    def take_over(cls, state: Mapping[str, Any], taking: Taking) -> Premises:
        """Return the premises of the old code."""
        return cls(
            control=taking.socket(state["control"]),
            control_path=state["control_path"],
            relay=taking.socket(state["relay"]),
            relay_path=state["relay_path"],
            file=state["file"],
            umask=state["umask"],
            life=Life(taking.file(state["lock"]), state["marker"], state["secret"]),
            groups=state.get("groups") or Groups(),  # an earlier version had none
            started=state["started"],
            more_relays={path: taking.socket(one) for path, one in state.get("more_relays", ())},
            passed=state.get("passed", False),
        )


def _add(path: Path, more: int) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) | more)
