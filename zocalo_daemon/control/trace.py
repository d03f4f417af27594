"""What `trace` answers: the lines of the trail about a recipe, or about the latest ones."""

from __future__ import annotations

import socket
import time

from zocalo_daemon.control.request import Request
from zocalo_daemon.errors import UsageError
from zocalo_daemon.protocol.trail import LONGEST_ID
from zocalo_daemon.supervision.trail import MANY, Found, Trail

SHORTEST = 3  # characters of an ID: fewer are of too many recipes


def answer(request: Request, trail: Trail) -> None:
    """Answer with the lines, oldest first; of services that the peer may see.

    Raises:
        UsageError: arguments of the wrong kind.
    """
    recipe = request.args.get("recipe") or ""
    if type(recipe) is not str or not recipe.isprintable() or (recipe and len(recipe) < SHORTEST):
        raise UsageError(f"recipe must be the ID of one, or its first characters, {SHORTEST} or more")

    def done(found: Found) -> None:
        names = list(dict.fromkeys(line["recipe"] for line in found["lines"]))
        if recipe in names:
            names = [recipe]
            found["lines"] = [line for line in found["lines"] if line["recipe"] == recipe]
        elif recipe and len(names) > 1:
            found["lines"] = []
        about = {"recipes": names[:MANY] if recipe else [], "matching": len(names)}
        request.ok({**found, **about, "host": socket.gethostname(), "now": time.time_ns() // 1000})

    # The last character of an ID that is too long says that it was cut.
    trail.find(recipe[: LONGEST_ID - 1], request.rights.sees, done)
