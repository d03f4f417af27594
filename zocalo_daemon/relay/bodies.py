"""Bodies of messages that come from the supervisor in pieces (pure)."""

from __future__ import annotations

from typing import Any

from zocalo_daemon.errors import Unavailable, UsageError
from zocalo_daemon.protocol import link


class Bodies:
    """What has come so far, by the origin that `of` names."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[Any, ...], list[bytes]] = {}

    def keep(self, of: list[Any], data: bytes | None) -> int:
        """Keep the next piece of a body, or with None forget it; return how many bytes there are now.

        Raises:
            UsageError: it is no piece, or there are too many.
        """
        if data is None:
            self._pieces.pop(tuple(of or ()), None)
            return 0
        pieces = self._pieces.setdefault(tuple(of), [])
        size = sum(map(len, pieces)) + len(data)
        if type(data) is not bytes or size > link.MAX_BODY:
            raise UsageError(f"a piece is bytes, and a body has up to {link.MAX_BODY} of them")
        pieces.append(data)
        return size

    def take(self, of: list[Any] | None, size: int) -> bytes:
        """Return a whole body, and keep it no more.

        Raises:
            Unavailable: pieces are missing: the relay that had them has ended, say.
        """
        body = b"".join(self._pieces.pop(tuple(of or ()), []))
        if len(body) != size:
            raise Unavailable(f"of this message {len(body)} of {size} bytes are here: send it again")
        return body
