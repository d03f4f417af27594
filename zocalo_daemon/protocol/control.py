"""The control protocol, version 1: what zocaloctl and zocalod say to each other.

Both sides first send a hello. Then the client sends requests; the daemon answers each with any number of
chunks and exactly one final frame (`ok` or `error`). Frames of several requests may interleave.

    client   {"hello": {"versions": [1, 1], "client": "zocaloctl 0.1.0"}}
    daemon   {"hello": {"versions": [1, 1], "daemon": "0.1.0", "role": "admin"}}
    client   {"id": 1, "op": "status", "args": {"services": ["spot*"]}}
    daemon   {"id": 1, "chunk": ...}            zero or more, for followers
    daemon   {"id": 1, "missed": 17}            a follower was too slow for that many chunks
    daemon   {"id": 1, "ok": ...}               or {"id": 1, "error": {code, message, data, retryable}}
    client   {"cancel": 1}                      ends a follower; it answers {"id": 1, "ok": null}

Unknown keys are ignored by both sides, so that old clients work against new daemons.
"""

from __future__ import annotations

from zocalo_daemon.errors import ProtocolError, ZocaloError
from zocalo_daemon.protocol.framing import Frame

TYPE_CHECKING = False  # typing takes 3 ms to load, which zocaloctl does not have
if TYPE_CHECKING:
    from typing import Any

VERSIONS = (1, 1)  # lowest and highest that this code speaks

ROLES = ("none", "view", "operate", "admin")  # each may all that the ones before it may

# The least role for each operation; an operation that is not here does not exist.
OPERATIONS = {
    "status": "view",
    "version": "view",
    "logs": "view",
    "events": "view",
    "crashes": "view",
    "queues": "view",
    "cluster": "view",
    "trace": "view",
    "dlq.list": "view",
    "start": "operate",
    "stop": "operate",
    "restart": "operate",
    "scale": "operate",
    "piece": "operate",
    "send": "operate",
    "broadcast": "operate",
    "reload": "admin",
    "reexec": "admin",
    "dlq.purge": "admin",
    "dlq.reinject": "admin",
    "drain": "admin",
}

# Of these, the role for the services that they are about suffices; all others need it for the whole daemon.
BY_SERVICE = {"status", "version", "logs", "events", "crashes", "trace", "start", "stop", "restart", "scale"}


def client_hello(client: str) -> Frame:
    """Return the first frame of a client; `client` is its name and version."""
    return {"hello": {"versions": list(VERSIONS), "client": client}}


def daemon_hello(version: str, role: str) -> Frame:
    """Return the first frame of the daemon; `role` is what this peer may do."""
    return {"hello": {"versions": list(VERSIONS), "daemon": version, "role": role}}


def agree(frame: Frame) -> tuple[int, dict[str, Any]]:
    """Return the highest version that both sides speak, and the peer's hello.

    Raises:
        ProtocolError: the frame is no hello, or there is no common version.
    """
    hello = frame.get("hello")
    versions = hello.get("versions") if isinstance(hello, dict) else None
    if (
        not isinstance(hello, dict)
        or not isinstance(versions, list)
        or len(versions) != 2
        or not all(type(v) is int for v in versions)
    ):
        raise ProtocolError("the first frame must be a hello with a range of versions")
    version = min(versions[1], VERSIONS[1])
    if version < max(versions[0], VERSIONS[0]):
        raise ProtocolError(
            f"no common protocol version: the peer speaks {versions[0]} to {versions[1]}, "
            f"this side {VERSIONS[0]} to {VERSIONS[1]}; upgrade the older of the two"
        )
    return version, hello


def request(number: int, op: str, args: dict[str, Any]) -> Frame:
    """Return the frame that asks for an operation."""
    return {"id": number, "op": op, "args": args}


def cancel(number: int) -> Frame:
    """Return the frame that ends the follower `number`."""
    return {"cancel": number}


def ok(number: int, value: Any) -> Frame:
    """Return the final frame of a request that was done."""
    return {"id": number, "ok": value}


def chunk(number: int, value: Any) -> Frame:
    """Return one item of a follower."""
    return {"id": number, "chunk": value}


def missed(number: int, count: int) -> Frame:
    """Return the note that a follower was too slow for `count` items."""
    return {"id": number, "missed": count}


def error(number: int, problem: ZocaloError) -> Frame:
    """Return the final frame of a request that failed."""
    return {
        "id": number,
        "error": {
            "code": problem.code,
            "message": problem.message,
            "data": problem.data,
            "retryable": problem.retryable,
        },
    }
