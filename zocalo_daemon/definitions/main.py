"""The command line of `zocaloctl configure-rabbitmq`, which becomes this process.

Exit status: 0 the broker has what the file says; 1 it has not, and standard error says why; 2 usage; with
--dry-run 3 if there is something to change.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zocalo_daemon.brokers.rabbitmq_management import Api, Refused
from zocalo_daemon.definitions import document, show, users, where
from zocalo_daemon.definitions.broker import Broker, broker
from zocalo_daemon.definitions.plan import Change, Plan, plan
from zocalo_daemon.errors import ZocaloError

PENDING = 3  # exit status of --dry-run
PATIENCE = 60.0  # seconds; a cluster takes its time to make a quorum queue
BAD_REQUEST, NOT_FOUND = 400, 404
# What only administrators see; others may still have queues made.
_GUARDED = {"user": "users", "vhost": "vhosts", "permission": "permissions"}
_LISTS = {"policy": "policies", "exchange": "exchanges", "queue": "queues", "binding": "bindings"}


class _Interrupted(ZocaloError):
    """A change could not be made; those before it are."""


def main() -> int:
    """Make a broker have what a file says; return the exit status."""
    args = _arguments()
    try:
        return _run(args)
    except ZocaloError as e:
        for text in e.data.get("problems") or [e.message]:
            _complain(text)
        return e.exit_status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="zocaloctl configure-rabbitmq", allow_abbrev=False)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--user-config", type=Path)
    parser.add_argument("--environment", action="append", default=[])
    parser.add_argument("--config", type=Path)
    parser.add_argument("--transport")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _run(args: argparse.Namespace) -> int:
    wanted = document.load(args.configuration)
    accounts = users.load(args.user_config) if args.user_config else None
    api = Api(where.settings(args.environment, args.config, args.transport, os.environ), PATIENCE)
    there = _look(api)
    if accounts is not None:
        known = there.of("user")
        wanted["user"] = {
            key: one.item(known[key].item.body if key in known else None) for key, one in accounts.items()
        }
    found = plan(wanted, there, args.force)
    made: list[Change] = []
    try:
        if not found.problems and not args.dry_run:
            for change in _carried_out(api, found):
                made.append(change)
                if not args.json:
                    sys.stdout.write(f"{_clean(show.line(change))}\n")
                    sys.stdout.flush()
    finally:
        _tell(found, made, args)
    return _status(found, args.dry_run)


def _look(api: Api) -> Broker:
    """Return what the broker has."""
    user = str(api.ask("GET", "whoami")["name"])
    answers = {}
    for kind, path in _GUARDED.items():
        try:
            answers[kind] = api.ask("GET", path)
        except Refused:  # who has no tag administrator
            continue
    return broker(user, {**answers, **{kind: api.ask("GET", path) for kind, path in _LISTS.items()}})


def _carried_out(api: Api, found: Plan) -> Iterator[Change]:
    """Carry out one change after the other, and yield each that is done.

    Raises:
        _Interrupted: one is refused.
    """
    for number, change in enumerate(found.changes):
        try:
            if change.if_empty and not _remove_empty(api, change):
                found.kept.append(f"{change.item.label} is not in the file, but has got messages, and stays")
                continue
            for method, path, body in () if change.if_empty else change.requests:
                _request(api, method, path, body)
        except ZocaloError as e:
            done = (
                f"{number} changes before it were made, {len(found.changes) - number - 1} behind it were not"
            )
            raise _Interrupted(f"cannot {change.action} {change.item.label}: {e.message}; {done}") from None
        yield change


def _remove_empty(api: Api, change: Change) -> bool:
    """Remove a queue if it is empty, and say so: the counts of the API are seconds old."""
    ((method, path, _),) = change.requests
    kind = (change.item.body.get("arguments") or {}).get("x-queue-type", "classic")
    if kind == "classic":
        try:
            _request(api, method, f"{path}?if-empty=true", None)
        except Refused as e:
            if e.status == BAD_REQUEST:
                return False
            raise
        return True
    # A quorum queue knows no such condition; to look costs its first message one delivery.
    look = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "base64", "truncate": 1}
    if kind == "quorum" and api.ask("POST", f"{path}/get", look):
        return False
    _request(api, method, path, None)
    return True


def _request(api: Api, method: str, path: str, body: Any) -> None:
    try:
        api.ask(method, path, body)
    except Refused as e:
        if method != "DELETE" or e.status != NOT_FOUND:  # what is gone need not be removed
            raise


def _tell(found: Plan, made: list[Change], args: argparse.Namespace) -> None:
    if args.json:
        text = json.dumps(show.document(found, made, args.dry_run), indent=2)
        sys.stdout.write(f"{text}\n")
    elif args.dry_run:
        sys.stdout.writelines(f"{_clean(show.line(one))}\n" for one in found.changes)
    if not args.json and not found.problems:
        sys.stdout.write(f"{show.total(len(found.changes), len(made), args.dry_run)}\n")
    sys.stdout.flush()
    for text in [*found.problems, *found.kept]:
        _complain(text)


def _status(found: Plan, dry: bool) -> int:
    if found.problems or found.kept:
        return 1
    return PENDING if dry and found.changes else 0


def _complain(text: str) -> None:
    sys.stderr.write(f"zocaloctl: {_clean(text)}\n")


def _clean(text: str) -> str:
    """Return text that a terminal does not obey: names come from files and from the broker."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


if __name__ == "__main__":
    sys.exit(main())
