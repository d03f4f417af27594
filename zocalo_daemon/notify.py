"""What a service manager such as systemd is told (sd_notify(3)), and what it asks for in the environment."""

from __future__ import annotations

import socket
from collections.abc import Mapping

# What is meant for the daemon alone: nothing that it starts may speak for it, or take its sockets.
VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
)


class Notifier:
    """Tells whoever listens at $NOTIFY_SOCKET; it is false if nobody does."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        place = environ.get("NOTIFY_SOCKET", "")
        # unix(7): an abstract name begins with a zero byte, which no variable can have.
        self._place = f"\0{place[1:]}" if place.startswith("@") else place if place.startswith("/") else ""

    def __bool__(self) -> bool:
        return bool(self._place)

    def tell(self, **fields: object) -> bool:
        """Send these fields, and return whether they were taken; never waits."""
        text = "\n".join(f"{name}={_one_line(value)}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), self._place)
        except OSError:
            return False
        return True


def watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """Return after how many seconds without a word the manager ends us, None if it does not look."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what is meant for the daemon alone."""
    return {name: value for name, value in environ.items() if name not in VARIABLES}


def _one_line(value: object) -> str:
    return " ".join(str(value).split("\n"))
