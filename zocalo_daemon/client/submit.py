"""zocaloctl send, broadcast: hands a message to the daemon, which answers once the message is safe."""

from __future__ import annotations

import json
import sys
import time

from zocalo_daemon.client import output
from zocalo_daemon.client.table import clean
from zocalo_daemon.errors import UsageError
from zocalo_daemon.protocol.framing import MAX_FRAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any, NoReturn

    from zocalo_daemon.client.connection import Connection

MAX_BODY = MAX_FRAME - 64 * 1024  # bytes; headers and names need some room in the frame
LONGEST = 95 * 1024 * 1024  # bytes of a body in pieces, which the relay keeps
PIECE = 512 * 1024  # bytes: the daemon copies one at a time, and others wait for that
CONFIRM_TIMEOUT = 60  # seconds; a message is confirmed or spooled long before


def _options(parser: ArgumentParser, kind: str) -> None:
    parser.add_argument("destination", metavar=kind, help=f"name of the {kind.lower()}")
    parser.add_argument("body", metavar="JSON|-", help="the message; - reads it from standard input")
    parser.add_argument(
        "--header", action="append", default=[], metavar="K=V", help="a header; may be given again"
    )
    parser.add_argument("--delay", type=float, metavar="S", help="deliver after S seconds")
    parser.add_argument("--expiration", type=float, metavar="S", help="forget it if not taken for S seconds")
    parser.add_argument("--transport", metavar="NAME", help="of the pool; default: the daemon's default")


def send_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `send`."""
    _options(parser, "QUEUE")


def broadcast_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `broadcast`."""
    _options(parser, "TOPIC")


def send(daemon: Connection, options: Namespace) -> int:
    """Send a message to a queue."""
    return _submit(daemon, options, "send", "queue")


def broadcast(daemon: Connection, options: Namespace) -> int:
    """Send a message to a topic."""
    return _submit(daemon, options, "broadcast", "topic")


def _submit(daemon: Connection, options: Namespace, op: str, kind: str) -> int:
    args = {
        kind: options.destination,
        "body": read_body(options.body),
        "headers": dict(pair(header, "--header") for header in options.header),
        "delay": options.delay,
        "expiration": options.expiration,
        "transport": options.transport,
    }
    value = deliver(daemon, op, args)
    if options.json:
        sys.stdout.write(output.json_text(value))
    else:
        sys.stdout.write(clean(said(value, f"{kind} {options.destination}")) + "\n")
    return 0


def deliver(daemon: Connection, op: str, args: dict[str, Any], longest: int = MAX_BODY) -> Any:
    """Hand a message to the daemon and return its answer.

    Args:
        longest: bytes that its body may have; what is over MAX_BODY is sent in pieces.

    Raises:
        UsageError: the message is too large.
    """
    body = args["body"]
    if len(body) > longest:
        raise _too_large(str(len(body)), longest)
    if len(body) > MAX_BODY:
        for start in range(0, len(body), PIECE):
            daemon.call("piece", {"data": body[start : start + PIECE]}, timeout=CONFIRM_TIMEOUT)
        args = {**args, "body": b"", "size": len(body)}
    return daemon.call(op, args, timeout=CONFIRM_TIMEOUT)


def _too_large(size: str, longest: int = MAX_BODY) -> UsageError:
    return UsageError(
        f"the message has {size} bytes, and the control socket takes {longest}: "
        "put the data into a file and send its name"
    )


def said(value: Any, where: str) -> str:
    """Return how far a message for `where` got."""
    if not isinstance(value, dict) or not value.get("spooled"):
        return f"sent to {where}"
    broker = f"broker {value.get('host') or value.get('transport') or ''}".strip()
    if value.get("away_since") is None:
        return f"spooled for {where}: others wait for {broker} too"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value["away_since"]))
    return f"spooled for {where}: {broker} away since {since}"


def read_body(argument: str) -> bytes:
    """Return a JSON argument, or with `-` what standard input has, as it was written.

    Raises:
        UsageError: it is no JSON; the message says where it stops to be. Or it is too large.
    """
    where = "the JSON argument"
    try:
        if argument == "-":
            where = "standard input"
            data = sys.stdin.buffer.read(MAX_FRAME + 1)
            if len(data) > MAX_FRAME:
                raise _too_large(f"more than {MAX_FRAME}")
            text = data.decode().strip()
        else:
            text = argument.encode("utf-8", "surrogateescape").decode().strip()
        json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as e:
        raise UsageError(f"{where} is not UTF-8, at byte {e.start + 1}") from None
    except json.JSONDecodeError as e:
        hint = "" if text[:1] in '{["' else "; text needs quotes: '\"text\"'"
        raise UsageError(f"{where} is not JSON: {e.msg}, line {e.lineno}, column {e.colno}{hint}") from None
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{where} cannot be sent as JSON: {e}") from None
    return text.encode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def pair(text: str, option: str) -> tuple[str, str]:
    """Return the two sides of K=V.

    Raises:
        UsageError: it has no equals sign or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{option} takes KEY=VALUE, not {text!r}")
    return key, value
