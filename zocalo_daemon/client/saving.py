"""zocaloctl dlq purge with files: each dead letter is on disk before it is deleted."""

from __future__ import annotations

import os
import sys
import time

from zocalo_daemon.client import files, letterfile, output
from zocalo_daemon.client.table import clean
from zocalo_daemon.errors import ZocaloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from zocalo_daemon.client.connection import Connection

    Letter = dict[str, Any]

PAGE = 100  # dead letters in one answer; their bodies share a frame
LONGEST_PAGE = 1000  # what the daemon gives at most
EVERY = 0.25  # seconds between looks while more are waited for
TIMEOUT = 60  # seconds, for one look


class Purge:
    """Moves dead letters into files.

    Args:
        directory: of the files; it is made if it is not there.
    """

    def __init__(self, daemon: Connection, directory: str, options: Namespace) -> None:
        self._daemon, self._directory = daemon, os.path.abspath(directory)
        self._transport = {"transport": options.transport} if options.transport else {}
        self._queues, self._ids = options.queues, set(options.ids or ())
        self._left: set[tuple[str, str, int]] = set()  # what stays where it is
        self.saved: dict[str, list[tuple[Letter, str]]] = {}
        self.problems: list[str] = []

    def run(self, wait: float) -> None:
        """Move all that is there, and what comes until nothing has come for `wait` seconds.

        Raises:
            ZocaloError: the daemon, or the disk; what was moved is in `saved`.
        """
        last = time.monotonic()
        while True:
            if self._round():
                last = time.monotonic()
            elif time.monotonic() - last >= wait:
                return
            else:
                time.sleep(EVERY)

    def _round(self) -> bool:
        """Move what one look shows; say whether that was anything."""
        for limit in (PAGE, LONGEST_PAGE):
            page = self._look(self._queues, limit, **self._transport)
            news = [one for one in page if _key(one) not in self._left]
            if news or len(page) < limit:
                break
        groups: dict[tuple[str, str], list[Letter]] = {}
        for one in news:
            whole = self._wanted(one)
            if whole is not None:
                groups.setdefault(_key(one)[:2], []).append(whole)
        for (transport, queue), letters in groups.items():
            self._move(transport, queue, letters)
        return bool(groups)

    def _look(self, queues: list[str], limit: int, **more: Any) -> list[Letter]:
        found: list[Letter] = self._daemon.call(
            "dlq.list", {"queues": queues, "limit": limit, **more}, TIMEOUT
        )
        return found

    def _wanted(self, letter: Letter) -> Letter | None:
        """Return a letter with all of its body; None if it is to stay."""
        if self._ids and letter["id"] not in self._ids:
            self._left.add(_key(letter))
            return None
        if not letter.get("cut"):
            return letter
        return self._whole(letter)

    def _whole(self, letter: Letter) -> Letter | None:
        """Return a letter that was cut with all of its body, asked for piece by piece; None if it is gone."""
        transport, queue, number = _key(letter)
        pieces: list[bytes] = []
        size = 0
        while size < letter["size"]:
            more = {"transport": transport, "ids": [number], "from": size}
            found = self._look([exactly(queue)], 1, **more)
            if not found or not found[0]["body"] or found[0].get("from") != size:
                self._left.add(_key(letter))
                if found:  # a daemon of before knows no pieces
                    self.problems.append(
                        f"dead letter {number} of {queue} stays there: the daemon is too old"
                    )
                return None
            pieces.append(found[0]["body"])
            size += len(pieces[-1])
        return {**letter, "body": b"".join(pieces), "cut": 0}

    def _move(self, transport: str, queue: str, letters: list[Letter]) -> None:
        now = time.time()
        paths = [self._write(letter, now) for letter in letters]
        args = {"queues": [exactly(queue)], "transport": transport, "ids": [one["id"] for one in letters]}
        count = self._daemon.call("dlq.purge", args, TIMEOUT)["count"]
        self.saved.setdefault(queue, []).extend(zip(letters, paths, strict=True))
        if count < len(letters):
            self._left |= {_key(one) for one in letters}
            self.problems.append(
                f"{len(letters) - count} of {len(letters)} dead letters of {queue} were written, but are "
                "gone or cannot be deleted: reinjected, they may come twice"
            )

    def _write(self, letter: Letter, now: float) -> str:
        import json

        text = json.dumps(letterfile.document(letter, now), indent=2) + "\n"
        directory, name = os.path.split(os.path.join(self._directory, letterfile.name_of(letter, now)))
        try:
            return files.write_new(directory, name, text)
        except OSError as e:
            raise ZocaloError(f"the dead letters cannot be written, the rest of them stay: {e}") from None


def purge(daemon: Connection, directory: str, options: Namespace) -> int:
    """Move dead letters into files and print where, as `zocalo.dlq_purge` does; 1 if some had to stay."""
    work = Purge(daemon, directory, options)
    if not options.json:
        sys.stdout.write(f"Looking for DLQ messages in {clean(', '.join(options.queues) or 'all queues')}\n")
        sys.stdout.flush()  # whoever reads file names from a pipe knows that some will come
    try:
        work.run(options.wait or 0.0)
    finally:
        _tell(work, options.json)
    for problem in work.problems:
        sys.stderr.write(f"zocaloctl: {clean(problem)}\n")
    missing = set(options.ids or ()) - {one["id"] for found in work.saved.values() for one, _ in found}
    if missing:
        raise ZocaloError(
            f"{len(missing)} of {len(set(options.ids))} ids not found there; zocaloctl dlq list shows all"
        )
    return 1 if work.problems else 0


def _tell(work: Purge, as_json: bool) -> None:
    if as_json:
        paths = [path for found in work.saved.values() for _, path in found]
        sys.stdout.write(output.json_text({"count": len(paths), "files": paths}))
        return
    for queue, found in work.saved.items():
        sys.stdout.write(f"Found {len(found)} DLQ messages in {clean(queue)}\n")
        for letter, path in found:
            died = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.get("time") or time.time()))
            sys.stdout.write(f"    Message {letter['id']} ({died}) exported:\n        {path}\n")
    sys.stdout.write("Done.\n")


def _key(letter: Letter) -> tuple[str, str, int]:
    return str(letter.get("transport") or ""), str(letter["queue"]), int(letter["id"])


def exactly(name: str) -> str:
    """Return the pattern that matches nothing but a name."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)
