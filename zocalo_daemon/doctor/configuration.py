"""The configuration: whether it can be used, who else can read or change it, and variables that mislead."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from zocalo_daemon.config import load as config_load
from zocalo_daemon.config.schema import DaemonConfig
from zocalo_daemon.config.summary import warnings
from zocalo_daemon.doctor.access import READ, account, path_problem, user_name
from zocalo_daemon.doctor.findings import Finding, ok, problem, warning
from zocalo_daemon.doctor.situation import Situation
from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site import load as site_load
from zocalo_daemon.site import transports as site_transports
from zocalo_daemon.values import replace

CHECK = "zocalod --check"
_PLACE = re.compile(r"(?P<where>/[^:]*(?::\d+)?): (?P<text>.*)", re.DOTALL)


def check(situation: Situation) -> Iterator[Finding]:
    """Yield what is wrong with the configuration; leave it in the situation if it can be used."""
    me = os.geteuid()
    if me not in (0, situation.user.uid):
        text = f"the daemon is that of {situation.user.name}; files closed to {user_name(me)} look broken"
        yield warning("doctor", "", text, f"sudo -u {situation.user.name} zocaloctl doctor")
    yield from _variables(situation)
    try:
        config = config_load.load(_file(situation), situation.daemon_environ(), situation.user.uid)
    except ConfigError as e:
        yield from _problems("configuration", e)
        return
    _settle_user(situation, config)
    yield from _site(situation, config)
    if situation.config:
        files = ", ".join(map(str, config.files)) or "none, the built-in configuration"
        yield ok("configuration", files, _services(len(config.services)))
        for text in warnings(situation.config):
            yield warning("configuration", "", text)
    yield from _files(situation, config.files)
    secrets = [one.password_file for one in config.transports.values() if one.password_file]
    yield from _files(situation, secrets, secret=True)


def _services(count: int) -> str:
    return "1 service" if count == 1 else f"{count} services"


def _file(situation: Situation) -> Path | None:
    """Return the file to check: the one that was named, else that of the daemon that runs."""
    used = situation.status.get("daemon", {}).get("config_files") or [None]
    return situation.file or (Path(used[0]) if used[0] else None)


def _settle_user(situation: Situation, config: DaemonConfig) -> None:
    """For root, a daemon that does not run is that of whoever has the state directory."""
    if situation.answer is None and os.geteuid() == 0 and config.state_dir.exists():
        situation.user = account(config.state_dir.stat().st_uid)


def _site(situation: Situation, config: DaemonConfig) -> Iterator[Finding]:
    """Read the site configuration, and complete the other one with it."""
    try:
        site = site_load.load(config.site, config.site_environment) if config.site else None
        offered, default = site_transports.transports(site) if site else ({}, None)
    except ConfigError as e:
        yield from _problems("site", e)
        situation.config = config if config.transports else replace(config, default_transport="")
        return
    try:
        situation.config = config_load.with_site_transports(config, offered, default)
        situation.site = site
    except ConfigError as e:
        yield from _problems("configuration", e)
        return
    if site:
        active = ", ".join(site["active"]) or "no environment"
        yield ok("site", config.site, f"{active}")
        yield from _files(situation, [Path(file) for file in site["files"]])


def _problems(what: str, error: ConfigError) -> Iterator[Finding]:
    for line in error.data.get("problems") or [error.message]:
        found = _PLACE.fullmatch(line)
        where, text = (found["where"], found["text"]) if found else ("", line)
        yield problem(what, where, text, f"mend it, then: {CHECK}")


def _files(situation: Situation, files: Iterable[Path], secret: bool = False) -> Iterator[Finding]:
    """Yield files that the daemon may not read, or that others may change or, if secret, read."""
    what = "password" if secret else "configuration"
    user = situation.user
    for file in files:
        try:
            closed = path_problem(file, user, READ)
            about = file.stat()
        except OSError:
            continue  # reported by whoever has read it
        if closed:
            do = f"chmod or chown it for {user.name}: namei -l {file}"
            yield problem(what, closed[0], closed[1], do)
        if secret and about.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IXGRP:
            text = f"mode {stat.S_IMODE(about.st_mode):o} lets others read the password"
            yield warning(what, file, text, f"chmod 600 {file}")
        if about.st_mode & stat.S_IWOTH:
            text = "anybody may change what the daemon runs"
            yield problem(what, file, text, f"chmod o-w {file}")
        elif about.st_uid not in (0, user.uid):
            text = f"belongs to {user_name(about.st_uid)}, who so decides what the daemon runs"
            yield warning(what, file, text, f"chown {user.name} {file}")


def _variables(situation: Situation) -> Iterator[Finding]:
    """Yield variables of this environment that lead zocalod and zocaloctl to nothing."""
    environ = situation.environ
    socket = environ.get("ZOCALO_SOCKET")
    if socket and not os.path.lexists(socket):
        yield problem(
            "environment", "ZOCALO_SOCKET", f"points to {socket}, which is not there", "unset ZOCALO_SOCKET"
        )
    site = environ.get("ZOCALO_CONFIG")
    if site and not os.access(Path(site).expanduser(), os.R_OK):
        text = f"points to {site}, which cannot be read"
        yield problem("environment", "ZOCALO_CONFIG", text, f"unset ZOCALO_CONFIG, or: ls -l {site}")
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "TMPDIR"):
        value = environ.get(name)
        if value and not value.startswith("/"):
            yield warning(
                "environment", name, f"is no absolute path ({value}) and so ignored", f"unset {name}"
            )
        elif value and name in ("XDG_RUNTIME_DIR", "TMPDIR") and not Path(value).is_dir():
            yield warning("environment", name, f"points to {value}, which is no directory", f"unset {name}")
    if environ.get("PYTHONHOME"):
        yield warning(
            "environment", "PYTHONHOME", "is set, and breaks runtimes of another Python", "unset PYTHONHOME"
        )
