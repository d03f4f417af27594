"""Reads zocalod.yaml and the drop-ins beside it into a DaemonConfig, or says everything that is wrong.

Own code, because no small library does it: voluptuous, cerberus, cattrs, dacite and msgspec know no line
numbers, and msgspec and dacite stop at the first error; strictyaml knows lines, stops at the first error
and takes 33 ms and 6 MB to import; pydantic and marshmallow take 100 ms and 15 MB. What is here costs
the table of `fields` and the walker of `walk`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.values import replace

from .checks import socket_problem
from .fields import TOP
from .nodes import MAX_BYTES, Table, merge, parse
from .places import Places, drop_ins, places, relay_sockets
from .problems import Report, Where
from .schema import (
    DEFAULT_RUNTIME,
    DEFAULT_TRANSPORT,
    ControlConfig,
    DaemonConfig,
    LogConfig,
    MetricsConfig,
    RelayConfig,
    RuntimeConfig,
    ServiceConfig,
    TransportConfig,
)
from .walk import Context


def load(path: Path | None, environ: Mapping[str, str], uid: int) -> DaemonConfig:
    """Return the configuration of a daemon.

    With a site configuration it is not whole before `with_site_transports`; without one, and without
    `transports` in the files, it has the embedded broker.

    Args:
        path: the file that the user named; None to look in the usual places.
        environ: the environment: HOME, TMPDIR, XDG_*, ZOCALO_CONFIG, ZOCALO_DEFAULT_ENV.
        uid: the user that the daemon runs as.

    Raises:
        ConfigError: every problem of every file, with file, line, key and suggestion.
    """
    where = places(environ, uid)
    report = Report()
    files = _files(path, where, report)
    tables = [_read(file, report) for file in files]
    report.check(files)
    top: Table | None = None
    for number, table in enumerate(tables):
        assert table is not None
        top = table if top is None else merge(top, table)
        _check_version(table, number, report)
    values = _values(top, where, bool(environ.get("ZOCALO_CONFIG")), report)
    config = _config(values, environ, where, files, top)
    sockets = relay_sockets(config.control.socket, config.relay_processes)[1:]
    if "socket" not in values.get("control", {}):
        sockets.append(config.control.socket)
    if problem := next(filter(None, map(socket_problem, sockets)), None):
        report.add(Where(files[0] if files else None, 1), problem, "control.socket")
    report.check(files)
    return config


def with_site_transports(
    config: DaemonConfig, offered: Mapping[str, TransportConfig], default: str | None = None
) -> DaemonConfig:
    """Return the configuration with the transports of the site beside its own, which win by name.

    Args:
        offered: what the site environment defines; the embedded broker if there is none at all.
        default: the one of them that services get unless the configuration says it; the first if None.

    Raises:
        ConfigError: a service, or default_transport, names a transport that is not there.
    """
    transports = {**config.transports, **{n: t for n, t in offered.items() if n not in config.transports}}
    transports = transports or {DEFAULT_TRANSPORT: TransportConfig(DEFAULT_TRANSPORT)}
    report = Report()
    top = Where(config.files[0] if config.files else None, 0)
    wanted = {"default_transport": config.default_transport}
    wanted |= {f"services.{s.name}.transport": s.transport or "" for s in config.services.values()}
    for key, name in wanted.items():
        if name and name not in transports:
            known = ", ".join(transports)
            text = f"there is no transport '{name}'; with those of the site configuration there are: {known}"
            report.add(config.places.get(key, top), text, key)
    report.check(config.files)
    chosen = config.default_transport or default or next(iter(transports))
    return replace(config, transports=transports, default_transport=chosen, places={})


def _files(path: Path | None, where: Places, report: Report) -> list[Path]:
    """Return the files to be read, in the order of merging."""
    for main in [path.absolute()] if path else where.candidates:
        found = []
        try:
            extra = drop_ins(main)
            if path or os.path.lexists(main):
                found = [main]
        except OSError as exc:
            report.add(Where(main.parent, 0), f"cannot be read: {exc.strerror}")
            return []
        if found or extra:
            return found + extra
    return []


def _read(file: Path, report: Report) -> Table | None:
    try:
        # Without O_NONBLOCK, a pipe would be waited for.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                report.add(Where(file, 0), "cannot be read: it is no file, but a directory or a device")
                return None
            data = os.read(descriptor, MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as exc:
        report.add(Where(file, 0), f"cannot be read: {(exc.strerror or 'error').lower()}")
        return None
    return parse(data, file, report)


def _check_version(table: Table, number: int, report: Report) -> None:
    """The first file has the version; the walker sees it there, or the one of a drop-in that replaced it."""
    if number == 0 and "version" not in table.entries:
        report.add(table.where, "'version' is missing; write 'version: 1' at the top")


def _values(top: Table | None, where: Places, site: bool, report: Report) -> dict[str, Any]:
    if top is None:
        return {"services": {"dispatcher": ServiceConfig("dispatcher", "Dispatcher")}}
    values: dict[str, Any] = TOP(top, Context(report, where.home, site))
    return values


def _config(
    values: dict[str, Any], environ: Mapping[str, str], where: Places, files: list[Path], top: Table | None
) -> DaemonConfig:
    control = values.get("control", {})
    site = values.get("site") or _site(environ, where)
    transports = values.get("transports")
    if not transports:
        transports = {} if site else {DEFAULT_TRANSPORT: TransportConfig(DEFAULT_TRANSPORT)}
    default = values.get("default_transport") or next(iter(transports), "")
    return DaemonConfig(
        state_dir=values.get("state_dir", where.state_dir),
        control=ControlConfig(control.get("socket", where.socket), control.get("roles", {})),
        transports=transports,
        default_transport=default,
        runtimes={DEFAULT_RUNTIME: RuntimeConfig(DEFAULT_RUNTIME)} | values.get("runtimes", {}),
        services=values.get("services", {}),
        relay=values.get("relay", RelayConfig()),
        status_broadcast=values.get("status_broadcast", True),
        relay_processes=values.get("relay_processes", 1),
        trail=values.get("trail", DaemonConfig.__fields__["trail"].default),
        metrics=values.get("metrics", MetricsConfig()),
        log=values.get("log", LogConfig()),
        site=site,
        site_environment=values.get("site_environment") or environ.get("ZOCALO_DEFAULT_ENV") or None,
        files=tuple(files),
        places=dict(_named_transports(top)) if top else {},
    )


def _named_transports(top: Table) -> Iterator[tuple[str, Where]]:
    """Yield the keys that name a transport, with their places."""
    if entry := top.entries.get("default_transport"):
        yield "default_transport", entry.node.where
    services = top.entries.get("services")
    if services is None or not isinstance(services.node, Table):
        return
    for name, service in services.node.entries.items():
        if isinstance(service.node, Table) and (entry := service.node.entries.get("transport")):
            yield f"services.{name}.transport", entry.node.where


def _site(environ: Mapping[str, str], where: Places) -> Path | None:
    value = environ.get("ZOCALO_CONFIG")
    if not value:
        return None
    return where.home / value[2:] if value.startswith("~/") else Path(value).absolute()
