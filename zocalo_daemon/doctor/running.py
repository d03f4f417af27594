"""Asks the daemon on the control socket how it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zocalo_daemon import __version__
from zocalo_daemon.client.connection import Connection
from zocalo_daemon.doctor import judging
from zocalo_daemon.doctor.access import Account, account, user_name
from zocalo_daemon.doctor.findings import Finding, ok, problem, warning
from zocalo_daemon.doctor.situation import Answer, Situation
from zocalo_daemon.errors import NotPermitted, NotRunning, ZocaloError
from zocalo_daemon.supervision import stops

PATIENCE = 4.0  # seconds for the daemon, which promises 0.1
RELAY_PATIENCE = 3.0  # for what the relay has to ask its brokers
SLOW = 0.5
LOG_LINES = 1000  # looked at for what was dropped

START = "systemctl start zocalod (or zocalod, for one of your own)"


def check(situation: Situation) -> Iterator[Finding]:
    """Yield how the daemon is, and how by its own words everything below it is."""
    with Connection(str(situation.socket), PATIENCE) as daemon:
        _greet(daemon, situation)
        situation.user = _daemon_user(situation)
        yield from _greeting(situation)
        if not situation.status:
            return
        yield from judging.judge(situation.status, __version__)
        yield from judging.stopped(situation.status, stops.state)
        queues, log = _call(daemon, "queues", {"patterns": []}), _log(daemon)
    if isinstance(queues, ZocaloError):
        yield problem(
            "relay", "", f"does not say which queues there are: {queues.message}", "zocaloctl logs relay"
        )
    else:
        yield from judging.dead_letters(queues)
    yield from judging.dropped(log)


def _greet(daemon: Connection, situation: Situation) -> None:
    """Ask for the status, and note what the daemon answered or why it did not."""
    begin = time.monotonic()
    try:
        status, situation.silence = daemon.call("status", {"services": []}, PATIENCE), None
    except ZocaloError as e:
        status, situation.silence = None, e
    role = str(daemon.hello.get("role", ""))
    if status or role:
        situation.answer = Answer(role, status, time.monotonic() - begin)


def _greeting(situation: Situation) -> Iterator[Finding]:
    me, silence, answer = user_name(os.geteuid()), situation.silence, situation.answer
    if silence is None and answer:
        text = f"zocalod {situation.status.get('daemon', {}).get('version')}, pid {situation.pid}, answers"
        took = f"{text} in {answer.seconds * 1000:.0f} ms"
        if answer.seconds > SLOW:
            yield warning(
                "daemon", situation.socket, f"{took}, which is slow: is the machine overloaded?", "top"
            )
        else:
            yield ok("daemon", situation.socket, took)
        yield ok("permission", me, f"has the role {answer.role}")
    elif silence and silence.code == NotRunning.code:
        yield problem("daemon", situation.socket, "does not run, or has another socket", START)
    elif silence and silence.code == NotPermitted.code:
        do = "use an account in a group of control.roles; for the rest: sudo zocaloctl doctor"
        yield problem("permission", situation.socket, f"the user {me} may not ask the daemon", do)
    elif silence:
        yield problem("daemon", situation.socket, f"does not answer: {silence.message}", _awake())


def _awake() -> str:
    return (
        "see `ps -o pid,stat,wchan,args -C zocalod`; state T: kill -CONT PID; else systemctl restart zocalod"
    )


def _daemon_user(situation: Situation) -> Account:
    """Return whose daemon it is: by its process, else by its socket, else whoever asks."""
    for path in (f"/proc/{situation.pid}", str(situation.socket)):
        try:
            return account(Path(path).lstat().st_uid)
        except OSError:
            continue
    return account(os.geteuid())


def _call(daemon: Connection, op: str, args: dict[str, Any]) -> Any:
    try:
        return daemon.call(op, args, RELAY_PATIENCE)
    except ZocaloError as e:
        daemon.close()  # a late answer belongs to no later request
        return e


def _log(daemon: Connection) -> list[dict[str, Any]]:
    """Return the latest lines of the log, none if they cannot be had."""
    items: list[dict[str, Any]] = []
    try:
        for item in daemon.stream("logs", {"targets": [], "lines": LOG_LINES}, RELAY_PATIENCE):
            if isinstance(item, dict):
                items.append(item)
    except ZocaloError:
        pass
    return items
