"""Messages that do not fit into one frame: a client sends their bodies in pieces."""

from __future__ import annotations

from typing import Any

from zocalo_daemon.errors import Unavailable, UsageError
from zocalo_daemon.protocol import link

LONGEST = link.MAX_FRAME - 1024 * 1024  # bytes of a body; headers need some room beside it


def keep(pieces: list[bytes], data: Any) -> int:
    """Keep the next piece of a body; return how many bytes there are now.

    Raises:
        UsageError: it is no piece, or there are too many; then none is kept.
    """
    size = sum(map(len, pieces)) + (len(data) if isinstance(data, bytes) else 0)
    if not isinstance(data, bytes) or size > LONGEST:
        pieces.clear()
        raise UsageError(f"a piece is bytes, and a body has up to {LONGEST} of them")
    pieces.append(data)
    return size


def whole(pieces: list[bytes], args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `send` with the whole body, if they say its size; no piece is kept then.

    Raises:
        Unavailable: pieces are missing: the daemon was replaced, say.
    """
    if "size" not in args:
        return args
    body = b"".join(pieces)
    pieces.clear()
    if len(body) != args["size"]:
        raise Unavailable(f"of this message {len(body)} of {args['size']} bytes have arrived: send it again")
    return {**args, "body": body}
