"""zocaloctl dlq reinject with files: sends what `dlq purge` or `zocalo.dlq_purge` has written."""

from __future__ import annotations

import os
import stat
import sys
import time

from zocalo_daemon.client import letterfile, submit
from zocalo_daemon.client.table import clean
from zocalo_daemon.errors import NotPermitted, NotRunning, UsageError, ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

MAX_FILE = 512 * 1024 * 1024  # bytes; as text a body may take some times as many


def names_of(given: list[str]) -> list[str] | None:
    """Return the files that are meant, None if the arguments name queues: a file has a slash in its name.

    `-` stands for the names on standard input. Without any argument they are read there as well, if it is a
    pipe and anything comes.

    Raises:
        UsageError: files and queues at once, or standard input names no file.
    """
    named = [one == "-" or "/" in one for one in given]
    if not given and _is_piped():
        text = sys.stdin.read()
        return _listed(text) if text else None
    if not any(named):
        return None
    if not all(named):
        queue = given[named.index(False)]
        raise UsageError(f"{queue} is a queue, others are files; a file of this directory is ./{queue}")
    return [path for one in given for path in (_listed(sys.stdin.read()) if one == "-" else [one])]


def _is_piped() -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:  # it is closed
        return False


def _listed(text: str) -> list[str]:
    """Return the file names in what `dlq purge` prints, or in a list with one in each line."""
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line.startswith(("/", "./", "../")) or (line and os.path.isfile(line))]
    if not found:
        raise UsageError("standard input names no files; without files, name the queues, or '*' for all")
    sys.stderr.write(f"{len(found)} filenames read from stdin\n")
    return found


def reinject(daemon: Connection, paths: list[str], options: Namespace) -> int:
    """Send the dead letters in files back; print which, as `zocalo.dlq_reinject` does; 1 if any could not be.

    A file that could not be sent stays, whatever the options, and the others are sent all the same.

    Raises:
        NotRunning, NotPermitted: no other file would fare better.
    """
    transports = {one.get("name") for one in daemon.call("status").get("transports", ())}
    done: list[str] = []
    failed: list[dict[str, str]] = []
    for number, path in enumerate(paths):
        if number and options.wait:
            time.sleep(options.wait)
        try:
            text = _reinject(daemon, path, transports, options)
        except (NotRunning, NotPermitted):
            raise
        except (ZocaloError, OSError, UnicodeDecodeError) as e:
            reason = e.message if isinstance(e, ZocaloError) else str(getattr(e, "strerror", None) or e)
            sys.stderr.write(f"zocaloctl: {clean(path)}: {clean(reason)}\n")
            failed.append({"file": path, "problem": reason})
            continue
        done.append(path)
        if not options.json:
            sys.stdout.write(f"Parsing message from {clean(path)}\n{clean(text)}\nDone.\n\n")
            sys.stdout.flush()
    if options.json:
        from zocalo_daemon.client.output import json_text

        sys.stdout.write(json_text({"count": len(done), "files": done, "failed": failed}))
    return 1 if failed else 0


def _reinject(daemon: Connection, path: str, transports: set[str], options: Namespace) -> str:
    with open(path, encoding="utf-8") as file:
        text = file.read(MAX_FILE)
    if options.verbose:
        sys.stderr.write(text)
    letter = letterfile.read(text)
    kind, destination = letter["kind"], letter["destination"].removeprefix(options.prefix or "")
    if options.destination:
        kind, destination = "queue", options.destination.removeprefix(options.prefix or "")
    if not destination:
        raise ZocaloError("it does not say where it came from; say where it goes with --destination")
    known = letter["transport"] if letter["transport"] in transports else None
    args: dict[str, Any] = {
        kind: destination,
        "body": letter["body"],
        "headers": letter["headers"],
        "properties": letter["properties"],
        "transport": options.transport or known,
        "ignore_namespace": letter["whole"] and not (options.prefix or options.destination),
    }
    value = submit.deliver(daemon, "send" if kind == "queue" else "broadcast", args, submit.LONGEST)
    if options.remove:
        os.unlink(path)
    return submit.said(value, f"{kind} {destination}")
