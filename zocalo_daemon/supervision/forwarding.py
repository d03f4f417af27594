"""What no service has logged itself, to the relay and from there to the site's Graylog server.

The records of services take another way: their worker sends them, with all that it knows of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from zocalo_daemon.site import ownlog
from zocalo_daemon.supervision.logs import LogBook
from zocalo_daemon.supervision.outlets import LogMessage
from zocalo_daemon.supervision.relay import Relay

KEPT = 1000  # messages that wait while the relay is away
BEHIND = 1024 * 1024  # bytes that the relay has not read, before more is dropped


class Forwarding:
    """Passes messages on as long as the site has such a server.

    Args:
        site: returns the site configuration, as it is by then.
    """

    def __init__(self, relay: Relay, logbook: LogBook, site: Callable[[], Mapping[str, Any] | None]) -> None:
        self._relay, self._log, self._site = relay, logbook, site
        self._waiting: deque[LogMessage] = deque()
        self._dropped = 0
        self._told = False  # the relay has servers
        self._listen(ownlog.configurations(site()))

    def tell(self) -> None:
        """Tell the relay where to send: when it is ready, or the site configuration is another one."""
        wanted = ownlog.configurations(self._site())
        self._listen(wanted)
        if self._relay.state == "ready":
            if wanted or self._told:
                self._relay.tell("log.to", {"configurations": wanted})
            self._told = bool(wanted)
            self._send()

    def _listen(self, wanted: list[dict[str, Any]]) -> None:
        self._log.besides = self._take if wanted else None
        if not wanted:
            self._waiting.clear()

    def _take(self, message: LogMessage) -> None:
        if len(self._waiting) >= KEPT:
            self._dropped += 1
            return
        self._waiting.append(message)
        self._send()

    def _send(self) -> None:
        while self._waiting and self._relay.state == "ready" and self._relay.behind < BEHIND:
            if self._dropped:
                news = f"{self._dropped} messages dropped here: too many at once"
                self._waiting.appendleft(LogMessage("zocalod", 30, news, self._waiting[0].when))
                self._dropped = 0
            one = self._waiting.popleft()
            message = [one.source, one.level, one.text, one.when, one.known()]
            self._relay.tell("log", {"message": message})
