"""Messages that do not fit into one frame: a client sends their bodies in pieces, and the relay keeps them.

Each piece goes straight on: whoever holds a large body has to copy it, and others wait for the supervisor.
"""

from __future__ import annotations

from typing import Any

from zocalo_daemon.control.request import Request
from zocalo_daemon.errors import UsageError
from zocalo_daemon.protocol import link


def handed_on(request: Request, origin: list[Any]) -> dict[str, Any]:
    """Return what the relay's `piece` is told of the next piece of a connection.

    Args:
        origin: what the body is known by, if this is its first piece.

    Raises:
        UsageError: it is no piece, or there are too many.
    """
    data = request.args.get("data")
    if data is None:
        return {"of": _taken(request), "data": None}
    of, size = request.pieces or (origin, 0)
    if not isinstance(data, bytes) or size + len(data) > link.MAX_BODY:
        raise UsageError(f"a piece is bytes, and a body has up to {link.MAX_BODY} of them")
    request.pieces[:] = of, size + len(data)
    return {"of": of, "data": data}


def of_publication(request: Request) -> dict[str, Any]:
    """Return what the relay's `publish` is told of the body, if it came in pieces; the next has others."""
    return {"of": _taken(request), "size": request.args["size"]} if "size" in request.args else {}


def _taken(request: Request) -> list[Any] | None:
    of = request.pieces[0] if request.pieces else None
    request.pieces.clear()
    return of
