"""From what the daemon says about itself to findings (pure)."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from zocalo_daemon.client.table import duration
from zocalo_daemon.doctor.findings import Finding, Level, ok, problem, warning

NAMED = 4  # instances of one service with the same trouble; more are counted
_WHAT_TO_DO = {"full": "df -h, and make room", "blocked": "free memory or disk of the broker"}

Document = dict[str, Any]


def judge(status: Document, installed: str) -> Iterator[Finding]:
    """Yield what a status document tells.

    Args:
        installed: version of the package that this code belongs to.
    """
    yield from _daemon(status, installed)
    yield from _relay(status)
    yield from _forkservers(status)
    for service in status.get("services") or ():
        yield from _service(service)


def _daemon(status: Document, installed: str) -> Iterator[Finding]:
    daemon = status.get("daemon", {})
    running, state = daemon.get("version"), daemon.get("state")
    if running != installed:
        text = f"{running} runs, {installed} is installed"
        yield warning("version", "zocalod", text, "zocaloctl reexec")
    if state not in ("running", None):
        yield warning("daemon", "zocalod", f"is {state}", "zocaloctl events -f")


def _relay(status: Document) -> Iterator[Finding]:
    relays = _relays(status)
    ill = [relay for relay in relays if relay.get("state") != "ready"]
    for relay in ill:
        why, name = relay.get("reason"), str(relay.get("name", "relay"))
        text = f"is {relay.get('state')}: {why}" if why else f"is {relay.get('state')}"
        whose = "its workers get no message" if len(relays) > 1 else "no message is delivered"
        number = name.removeprefix("relay").strip()
        yield problem("relay", number, f"{text}; {whose}", f"zocaloctl logs {shlex.quote(name)}")
    if len(ill) == len(relays):
        return
    for transport in status.get("transports") or []:
        name, state = transport.get("name"), transport.get("state")
        if state == "connected":
            yield ok("transport", name, f"connected to {transport.get('host')}")
        else:
            detail = f": {transport['detail']}" if transport.get("detail") else ""
            do = _WHAT_TO_DO.get(str(state), "zocaloctl logs relay")
            yield problem("transport", name, f"is {state}{detail}", do)


def _relays(status: Document) -> list[Document]:
    daemon = status.get("daemon", {})
    return daemon.get("relays") or [daemon.get("relay") or {}]


def _forkservers(status: Document) -> Iterator[Finding]:
    for server in status.get("daemon", {}).get("forkservers") or ():
        if server.get("state") == "failed":
            error = str(server.get("reason") or "its forkserver has failed")
            error = error.removeprefix(f"runtime {server.get('runtime')}: ")
            do = "mend it, then: zocaloctl reload"
            yield problem("runtime", server.get("runtime"), f"cannot be loaded: {error}", do)


def _service(service: Document) -> Iterator[Finding]:
    name, instances = service.get("name"), service.get("instances") or []
    troubles: dict[tuple[str, str], list[Document]] = {}
    for instance in instances:
        if instance.get("state") != "ready" or instance.get("reason"):
            key = str(instance.get("state")), str(instance.get("reason") or "")
            troubles.setdefault(key, []).append(instance)
    for (state, why), ill in troubles.items():
        yield _trouble(str(name), state, why, ill)
    missing = service.get("wanted", 0) - len(instances)
    if missing > 0:
        text = f"{missing} of its instances are missing"
        yield problem("service", name, text, f"zocaloctl start {name}")
    elif not troubles:
        yield ok("service", name, f"{len(instances)} ready")


def _trouble(name: str, state: str, why: str, ill: list[Document]) -> Finding:
    """Return what to say of instances of a service that have the same trouble."""
    ids = [str(instance.get("id")) for instance in ill]
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    where = ", ".join(ids[:NAMED]) + more
    target = ids[0] if len(ids) == 1 else name
    crash = next((one["last_crash"] for one in ill if one.get("last_crash")), None)
    look = f"zocaloctl crashes {crash}" if crash else f"zocaloctl logs {target}"
    level, text, do = _verdict(state, why, ill, look, f"zocaloctl start {target}")
    return Finding(level, "service", where, text, do)


def _verdict(state: str, why: str, ill: list[Document], look: str, start: str) -> tuple[Level, str, str]:
    said = f": {why}" if why else ""
    if state == "failed":
        return Level.PROBLEM, f"has failed{said}", f"{look}; mend it; {start}"
    if state == "backoff":
        due = duration(min(one.get("next_start_s") or 0 for one in ill))
        return Level.PROBLEM, f"dies again and again{said}; next start in {due}", look
    if state == "ready":
        return Level.WARNING, f"is ready, but {why}", look
    age = duration(max(one.get("uptime_s") or 0 for one in ill))
    since = f" for {age}" if state in ("starting", "draining") else ""
    return Level.WARNING, f"is {state}{since}{said}", start if state == "stopped" else look


def stopped(status: Document, state_of: Callable[[int], str]) -> Iterator[Finding]:
    """Yield which processes the kernel has stopped.

    Args:
        state_of: from a pid to its state letter, "" if there is none (proc(5)).
    """
    for what, pid in _pids(status):
        if pid and state_of(pid) in ("T", "t"):
            yield problem("process", what, f"pid {pid} is stopped by a signal", f"kill -CONT {pid}")


def _pids(status: Document) -> Iterator[tuple[str, Any]]:
    daemon = status.get("daemon", {})
    for relay in _relays(status):
        yield str(relay.get("name", "relay")), relay.get("pid")
    for server in daemon.get("forkservers") or ():
        yield f"forkserver {server.get('runtime')}", server.get("pid")
    for service in status.get("services") or ():
        for instance in service.get("instances") or ():
            yield str(instance.get("id")), instance.get("pid")


def dead_letters(queues: Iterable[Document]) -> Iterator[Finding]:
    """Yield the queues of dead letters that hold some."""
    for queue in queues:
        count = queue.get("ready") or 0
        if queue.get("dead_letters") and count:
            text = f"{count} dead letter{'s' * (count != 1)} waiting"
            yield warning("dead letters", queue.get("name"), text, f"zocaloctl dlq list {queue.get('name')}")


def dropped(log: Iterable[Document]) -> Iterator[Finding]:
    """Yield which sources of the log tell that something was dropped, and the latest such line of each."""
    told = [item for item in log if (item.get("level") or 0) >= 30 and "dropped" in str(item.get("text"))]
    counts = Counter(str(item.get("id")) for item in told)
    latest = {str(item.get("id")): str(item.get("text")) for item in told}
    for source, count in counts.items():
        text = (
            f"{count} line{'s' * (count != 1)} of its log tell of things dropped, the last: {latest[source]}"
        )
        yield warning("dropped", source, text, f"zocaloctl logs -n 400 {source}")
