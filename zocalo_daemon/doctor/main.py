"""The command line of `zocaloctl doctor`, which becomes this process: one check after the other.

Each check is imported by itself and has a time limit: what is broken may be the very package, file system or
broker that it asks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from zocalo_daemon.client.output import use_colour
from zocalo_daemon.doctor.findings import Finding, document, healthy, installing, lines, problem


class Check(NamedTuple):
    """A function `check` of a module of this room; `limit` in seconds."""

    module: str
    what: str
    limit: float


# In this order: later ones use what earlier ones have put into the situation.
CHECKS = (
    Check("machine", "machine", 5.0),
    Check("running", "daemon", 12.0),
    Check("configuration", "configuration", 10.0),
    Check("state", "state directory", 5.0),
    Check("sockets", "socket", 5.0),
    Check("brokers", "broker", 8.0),
    Check("limits", "limits", 5.0),
    Check("runtimes", "runtime", 60.0),
    Check("metrics", "metrics", 5.0),
)


BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells say it


def main() -> int:
    """Print what is found; return 0 if no problem is among it, else 1."""
    args = _arguments()
    findings = examine(args.config, args.socket, args.named)
    try:
        if args.json:
            sys.stdout.write(json.dumps(document(findings), indent=2) + "\n")
        else:
            sys.stdout.write("\n".join(lines(findings, use_colour())) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads it to its end; the interpreter must not try again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return 0 if healthy(findings) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="zocaloctl doctor", allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--named", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def examine(file: Path | None, socket: Path, named: bool) -> list[Finding]:
    """Return what all checks find; the arguments are those of Situation."""
    try:
        from zocalo_daemon.doctor.situation import Situation  # noqa: PLC0415  (a part of it may be missing)
    except Exception as e:  # a broken installation raises anything
        return [_broken("installation", e)]
    situation = Situation(file, socket, named, os.environ)
    findings: list[Finding] = []
    for check in CHECKS:
        findings += limited(partial(_run, check.module, situation), check.what, check.limit)
    return findings


def _run(name: str, situation: object) -> Iterable[Finding]:
    found: Iterable[Finding] = import_module(f"zocalo_daemon.doctor.{name}").check(situation)
    return found


def limited(run: Callable[[], Iterable[Finding]], what: str, limit: float) -> list[Finding]:
    """Return what a check finds within `limit` seconds, and that it did not come to an end if so."""
    found: list[Finding] = []

    def work() -> None:
        try:
            for finding in run():
                found.append(finding)
        except Exception as e:  # one that fails must not hide what the others find
            if os.environ.get("ZOCALO_TRACEBACK"):
                raise
            found.append(_broken(what, e))

    thread = threading.Thread(target=work, daemon=True)  # a file system that hangs does not let go of it
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        text = f"could not be checked within {limit:g} s; does a file system, or the name service, hang?"
        return [*found, problem(what, "", text, "dmesg | tail")]
    return found


def _broken(what: str, error: Exception) -> Finding:
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, ImportError):
        return problem(
            what, sys.prefix, said, installing("zocalo-daemon", sys.executable, find_spec("pip") is not None)
        )
    return problem(what, "", f"could not be checked: {said}", "see it whole with ZOCALO_TRACEBACK=1")


if __name__ == "__main__":
    sys.exit(main())
