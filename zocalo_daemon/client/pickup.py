"""zocaloctl pickup: submits the drop files that `go` has written while it could not send."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time

from zocalo_daemon.client import locations, submit
from zocalo_daemon.client.go import QUEUE
from zocalo_daemon.client.table import clean
from zocalo_daemon.errors import NotPermitted, NotRunning, UsageError, ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

MAX_FILE = 64 * 1024 * 1024  # bytes


def pickup_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `pickup`, which are those of `zocalo.pickup`."""
    add = parser.add_argument
    add("-d", "--delay", type=float, default=2, metavar="S", help="wait S seconds between two messages (2)")
    add("-w", "--wait", type=float, default=60, metavar="S", help="wait S seconds before the first one (60)")
    add("-v", "--verbose", action="store_true", help="show each message before it is sent")
    add("--transport", metavar="NAME", help="of the pool; default: the daemon's default")
    add(
        "--location",
        metavar="DIR",
        help="where the drop files are (default: $ZOCALO_GO_FALLBACK_LOCATION, else "
        "zocalo.go.fallback_location of the site)",
    )


def pickup(daemon: Connection, options: Namespace) -> int:
    """Submit drop files, oldest first, and delete each once it is safe; 1 if any has to stay.

    Raises:
        UsageError: nobody says where they are.
        ZocaloError: the directory cannot be used, or another pickup is at work there.
    """
    place = locations.find(daemon, locations.DROP, options.location)
    if not place:
        raise UsageError("say where the drop files are: --location or ZOCALO_GO_FALLBACK_LOCATION")
    lock = _open(place)
    try:
        paths = found(place)
        _say(options, f"Found {len(paths)} files")
        if paths and options.wait:
            _say(options, f"Waiting {options.wait:g} seconds")
            time.sleep(options.wait)
        sent, failed = _submit_all(daemon, paths, options)
    finally:
        os.close(lock)
    if options.json:
        sys.stdout.write(json.dumps({"sent": sent, "failed": failed}, indent=2) + "\n")
    return 1 if failed else 0


def _open(place: str) -> int:
    """Return a descriptor of the directory that holds its lock: sent twice, a recipe would run twice."""
    try:
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise ZocaloError(f"cannot read {place}: {e.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ZocaloError(f"another pickup is at work in {place}") from None
    return lock


def found(place: str) -> list[str]:
    """Return the drop files, oldest first; one whose name begins with a dot is still being written.

    Raises:
        ZocaloError: the directory cannot be read.
    """
    try:
        with os.scandir(place) as entries:
            there = [(one.stat().st_mtime_ns, one.path) for one in entries if _is_drop(one)]
    except OSError as e:
        raise ZocaloError(f"cannot read {place}: {e.strerror}") from None
    return [path for _, path in sorted(there)]


def _is_drop(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_file()


def _submit_all(
    daemon: Connection, paths: list[str], options: Namespace
) -> tuple[list[str], list[dict[str, str]]]:
    sent: list[str] = []
    failed: list[dict[str, str]] = []
    for number, path in enumerate(paths):
        if number and options.delay:
            time.sleep(options.delay)
        try:
            _submit(daemon, path, options)
        except FileNotFoundError:
            continue  # somebody has taken it back
        except (NotRunning, NotPermitted):
            raise
        except (ZocaloError, OSError) as e:
            reason = e.message if isinstance(e, ZocaloError) else str(e.strerror)
            sys.stderr.write(f"zocaloctl: {clean(path)} stays: {clean(reason)}\n")
            failed.append({"file": path, "problem": reason})
            continue
        sent.append(path)
        _say(options, f"Done ({len(sent)} of {len(paths)})")
    return sent, failed


def _submit(daemon: Connection, path: str, options: Namespace) -> None:
    with open(path, "rb") as file:
        message, headers = parsed(file.read(MAX_FILE))
    if options.verbose:
        sys.stderr.write(json.dumps(message, indent=2) + "\n")
    recipes = message.get("recipes")
    named = ",".join(map(str, recipes)) if isinstance(recipes, list) else ""
    _say(options, f"Sending {path} from host {headers.get('zocalo.go.host')} with recipes {named}")
    args = {
        "queue": QUEUE,
        "body": json.dumps(message).encode(),
        "headers": headers,
        "transport": options.transport,
    }
    submit.deliver(daemon, "send", args)
    os.unlink(path)


def parsed(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return message and headers of a drop file.

    Raises:
        ZocaloError: it is none.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise ZocaloError(f"it is not JSON: {e}") from None
    if isinstance(content, dict):
        message, headers = content.get("message"), content.get("headers", {})
        if isinstance(message, dict) and isinstance(headers, dict):
            return message, headers
    raise ZocaloError("it is no drop file: it needs 'headers' and 'message', two maps")


def _say(options: Namespace, text: str) -> None:
    if not options.json:
        sys.stdout.write(clean(text) + "\n")
        sys.stdout.flush()
