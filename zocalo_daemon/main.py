"""zocalod: command line, configuration, lock and sockets; then the loop of `daemon` takes over.

What reads configurations, and whatever else code that replaces that of a running daemon (`successor`) can do
without, is imported where it is needed: clients wait for that code.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from zocalo_daemon import __version__
from zocalo_daemon.config.schema import DaemonConfig, LogConfig
from zocalo_daemon.daemon import Daemon, forkserver_argv
from zocalo_daemon.errors import ConfigError, ZocaloError
from zocalo_daemon.supervision import directing, handover, life
from zocalo_daemon.supervision.groups import Groups
from zocalo_daemon.supervision.logs import LogBook
from zocalo_daemon.supervision.premises import Premises

if TYPE_CHECKING:
    import argparse

_COLUMNS = 78  # of the help


def main() -> None:
    """Run the command zocalod and exit."""
    if how := os.environ.pop(handover.VARIABLE, None):
        sys.exit(_succeed(how))
    args = _arguments()
    try:
        config, site = load(args.config)
        if args.check:
            _check(config, site)
            return
        _run(args.config, config, site)
    except ZocaloError as e:
        _fail(e)
    except KeyboardInterrupt:
        sys.exit(130)


def _succeed(how: str) -> int:
    gc.disable()  # until the state is there: it would make clients wait a tenth longer
    from zocalo_daemon import successor

    return successor.main(how, load=load, logbook=logbook, run=run)


def _arguments() -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(
        prog="zocalod",
        description="Runs the Zocalo services of this server: starts and restarts their workers, relays "
        "their messages, and answers zocaloctl. It runs in the foreground and logs to standard error.",
        epilog="SIGTERM finishes what is in hand and stops; SIGHUP reloads the "
        "configuration; SIGUSR2 replaces the code of the daemon itself.",
        # With no width given argparse imports shutil to ask for one, and that half a MiB of compression.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=_COLUMNS),
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="zocalod.yaml to use")
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    parser.add_argument("--version", action="version", version=f"zocalod {__version__}")
    return parser.parse_args()


def _check(config: DaemonConfig, site: dict[str, Any] | None) -> None:
    from zocalo_daemon import cgroups
    from zocalo_daemon.config import budget, limits, users
    from zocalo_daemon.config.summary import check_summary
    from zocalo_daemon.supervision import delegation
    from zocalo_daemon.supervision.probe import tried

    grouped = delegation.plan("zocalod", cgroups.hierarchies())
    lines = [
        check_summary(config),
        *budget.report(budget.needs(config, limits.read())),
        f"control groups: {grouped}",
        *(f"warning: {line}" for line in grouped.warnings(config.services)),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    problems, unwise = tried(config, site, forkserver_argv, os.environ)
    problems += users.problems(config, os.getuid())
    sys.stdout.writelines(f"warning: {line}\n" for line in unwise)
    if problems:
        raise ConfigError("\n".join(problems), {"problems": problems})


def load(path: Path | None) -> tuple[DaemonConfig, dict[str, Any] | None]:
    """Return the configuration and the site configuration.

    Args:
        path: the file that was named, or None.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from zocalo_daemon.config import load as config_load
    from zocalo_daemon.site import load as site_load
    from zocalo_daemon.site import transports as site_transports

    config = config_load.load(path, os.environ, os.getuid())
    site = site_load.load(config.site, config.site_environment) if config.site else None
    offered, default = site_transports.transports(site) if site else ({}, None)
    config = config_load.with_site_transports(config, offered, default)
    return config, site


def _run(file: Path | None, config: DaemonConfig, site: dict[str, Any] | None) -> None:
    import setproctitle

    from zocalo_daemon import listening
    from zocalo_daemon.config import budget, limits, places, users
    from zocalo_daemon.config.summary import warnings

    umask = os.umask(0o077)  # for sockets and state; what services write is theirs to say
    setproctitle.setproctitle("zocalod")
    _allow_descriptors()
    own, left = _begin(config.state_dir)
    control_path = config.control.socket
    relay_path, *more = places.relay_sockets(control_path, config.relay_processes)
    # With roles, anybody may connect, and is nobody until SO_PEERCRED says otherwise.
    listening.make_directory(control_path.parent, 0o755 if config.control.roles else 0o700)
    mode = 0o666 if config.control.roles else 0o600
    control, passed = listening.control(control_path, mode, os.environ, os.getpid())
    premises = Premises(
        control,
        control_path,
        listening.bind(relay_path, 0o600),
        relay_path,
        file=file,
        umask=umask,
        life=own,
        groups=_make_groups(own),
        started=time.monotonic(),
        more_relays={path: listening.bind(path, 0o600) for path in more},
        passed=passed,
    )
    daemon = Daemon(config, site, premises, load=lambda: load(file), logbook=logbook(config.log))
    daemon.say(20, f"zocalod {__version__} starts; control socket {config.control.socket}")
    if left:
        daemon.say(30, left)
    unwise = (*warnings(config), *budget.warnings(budget.needs(config, limits.read())))
    unwise = (*unwise, *users.problems(config, os.getuid()))
    for warning in (*unwise, *premises.groups.warnings(config.services)):
        daemon.say(30, warning)
    run(daemon)


def run(daemon: Daemon, begin: Callable[[], None] | None = None) -> None:
    """Run a daemon to its end; `begin` as in Daemon.run."""
    if sys.stderr:
        faulthandler.enable()  # says where we are when systemd's watchdog ends us (SIGABRT)
    try:
        daemon.run(begin)
    finally:
        daemon.premises.close()
    daemon.say(20, "zocalod has stopped")


def logbook(config: LogConfig) -> LogBook:
    """Return a log book that passes everything on to where the configuration says."""
    return LogBook(time.time, directing.outlet(config))


def _allow_descriptors() -> None:
    """Raise the limit of descriptors as far as we may: each worker takes three."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _begin(directory: Path) -> tuple[life.Life, str]:
    """Lock the state directory, and end what a former daemon has left; the text says what that was."""
    file = directory / "zocalod.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        locked = life.lock(file)
        if locked is not None:
            left = life.end_former(locked)
            return life.begin(locked), left
    except OSError as e:
        raise ConfigError(
            f"state directory {directory} cannot be used: {e.strerror}; "
            f"let {_user()} write there, or set state_dir"
        ) from None
    raise ConfigError(
        f"another zocalod (pid {life.holder(file)}) runs on state directory {directory}; stop it first, "
        "or give this one a state_dir and control.socket of its own"
    )


def _make_groups(own: life.Life) -> Groups:
    """Make the directories of the workers' control groups, where the next life would find them."""
    from zocalo_daemon import cgroups
    from zocalo_daemon.supervision import delegation

    made = delegation.make(delegation.plan(delegation.directory(own.marker), cgroups.hierarchies()))
    life.note(own, made.bases)
    return made


def _user() -> str:
    return f"user {os.getuid()}" if os.getuid() else "root"


def _fail(error: ZocaloError) -> NoReturn:
    for line in error.data.get("problems") or [error.message]:
        sys.stderr.write(f"zocalod: {line}\n")
    sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
