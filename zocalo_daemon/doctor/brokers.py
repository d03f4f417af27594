"""Brokers: databases of the embedded one, names and ports of the others, TLS files; all hosts at once."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zocalo_daemon.brokers.database import DATABASE, SCHEMA_VERSION
from zocalo_daemon.config.schema import TransportConfig
from zocalo_daemon.doctor.access import READ, path_problem
from zocalo_daemon.doctor.findings import Finding, ok, problem, warning
from zocalo_daemon.doctor.situation import Situation

CONNECT = 2.0  # seconds for one address
ALL = 4.5  # seconds for all hosts together, their names included
INTEGRITY = 1.5  # seconds of reading one database
_MAGIC = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html, the first 16 bytes


def check(situation: Situation) -> Iterator[Finding]:
    """Yield which brokers cannot be used; embedded ones are read only while no relay writes to them."""
    config = situation.config
    if config is None:
        return
    for transport in config.transports.values():
        if transport.driver == "embedded":
            directory = config.state_dir / "queues" / transport.name
            yield from database(transport.name, directory / DATABASE, idle=situation.answer is None)
        if transport.tls:
            yield from _tls(transport, situation)
    hosts = [(one.name, host) for one in config.transports.values() for host in one.hosts]
    yield from reach(hosts, CONNECT, ALL)


# -- The embedded broker


def database(name: str, file: Path, idle: bool) -> Iterator[Finding]:
    """Yield what is wrong with the database of an embedded broker; `idle`: no relay has it open."""
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except FileNotFoundError:
        yield ok("database", name, "is not there yet; the relay will make it")
        return
    except OSError as e:
        yield problem("database", file, f"cannot be read: {(e.strerror or '').lower()}", f"ls -l {file}")
        return
    if magic != _MAGIC:
        text = "is no database, or damaged at its beginning" if magic else "is empty"
        yield problem("database", file, text, f"stop the daemon; mv {file.parent} {file.parent}.broken")
        return
    if not idle:
        yield ok("database", file, "is a database")
        return
    yield from _integrity(file)


def _integrity(file: Path) -> Iterator[Finding]:
    """Have SQLite look at it: `immutable`, since anything else would leave files beside it.

    So what stands in its write-ahead log is not seen, and pages that the log would mend may look damaged.
    """
    end = time.monotonic() + INTEGRITY
    try:
        sql = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            sql.set_progress_handler(lambda: time.monotonic() > end, 10_000)
            (version,) = sql.execute("PRAGMA user_version").fetchone()
            (said,) = sql.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            sql.close()
    except sqlite3.Error as e:
        if e.sqlite_errorname == "SQLITE_INTERRUPT":
            yield ok("database", file, f"is readable; too large to be checked whole in {INTEGRITY:g} s")
            return
        version, said = SCHEMA_VERSION, str(e)
    log = file.with_name(file.name + "-wal")
    if version > SCHEMA_VERSION:
        text = f"is of a later version ({version}) than this one ({SCHEMA_VERSION}) knows"
        yield problem("database", file, text, "install that version of zocalo-daemon again")
    elif said == "ok":
        yield ok("database", file, "is whole")
    elif log.exists() and log.stat().st_size:
        text = f"may be damaged ({said}); the next start applies its log, which may mend it"
        yield warning("database", file, text, f"cp -a {file.parent} {file.parent}.copy, then start")
    else:
        do = f"sqlite3 {file} .recover; or mv {file.parent} {file.parent}.broken, without its messages"
        yield problem("database", file, f"is damaged: {said}", do)


# -- Brokers elsewhere


def _tls(transport: TransportConfig, situation: Situation) -> Iterator[Finding]:
    assert transport.tls
    for file in (transport.tls.ca, transport.tls.certificate, transport.tls.key):
        if file is None:
            continue
        try:
            closed = path_problem(file, situation.user, READ)
        except OSError as e:
            text = f"of transport {transport.name}: {(e.strerror or 'cannot be read').lower()}"
            yield problem("TLS", file, text, f"ls -l {file}")
            continue
        if closed:
            yield problem("TLS", closed[0], f"of transport {transport.name}: {closed[1]}", f"namei -l {file}")


def reach(hosts: list[tuple[str, str]], limit: float, all_limit: float) -> Iterator[Finding]:
    """Yield for each (transport, host:port) whether a connection is taken; all are tried at once.

    Args:
        limit: seconds for each address.
        all_limit: seconds for all of them. A name service may take longer, and its thread is left behind.
    """
    found: dict[tuple[str, str], Finding] = {}

    def work(entry: tuple[str, str]) -> None:
        found[entry] = _try(*entry, limit)

    threads = [threading.Thread(target=work, args=(entry,), daemon=True) for entry in dict.fromkeys(hosts)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + all_limit
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    for transport, host in dict.fromkeys(hosts):
        silent = problem(
            "broker",
            host,
            f"of transport {transport}: no answer within {all_limit:g} s",
            f"getent hosts {_name(host)}",
        )
        yield found.get((transport, host), silent)


def _try(transport: str, host: str, limit: float) -> Finding:
    name, port = _name(host), int(host.rpartition(":")[2])
    try:
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as e:
        text = f"of transport {transport}: its name does not resolve ({e.strerror or e})"
        return problem("broker", host, text, f"getent hosts {name}")
    said = ""
    for family, kind, protocol, _, address in addresses:
        with socket.socket(family, kind, protocol) as trying:
            trying.settimeout(limit)
            begin = time.monotonic()
            number = _connect(trying, address)
            if not number:
                took = (time.monotonic() - begin) * 1000
                return ok("broker", host, f"of transport {transport}: takes connections, after {took:.0f} ms")
            said = os.strerror(number).lower()
    text = f"of transport {transport}: no connection ({said})"
    return problem("broker", host, text, f"nc -vz {name} {port}; is the broker up, does a firewall stop it?")


def _connect(trying: socket.socket, address: Any) -> int:
    try:
        trying.connect(address)
    except TimeoutError:
        return errno.ETIMEDOUT
    except OSError as e:
        return e.errno or errno.EIO
    return 0


def _name(host: str) -> str:
    return host.rpartition(":")[0].strip("[]")
