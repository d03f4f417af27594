"""The command line of `zocaloctl wrap`, which becomes this process."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workflows.transport

from zocalo_daemon.client.wrap import FLAGS, wrap_options
from zocalo_daemon.control.surroundings import surroundings
from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.site import logs
from zocalo_daemon.worker.dial import default_socket
from zocalo_daemon.wrapper import job, lookup, recipe, site
from zocalo_daemon.wrapper.connecting import connected
from zocalo_daemon.wrapper.signals import Signals
from zocalo_daemon.wrapper.status import FAREWELL, StatusNotifications
from zocalo_daemon.wrapper.ways import Asked, ways

log = logging.getLogger("zocalo.wrap")


def main() -> int:
    """Run one job; return its exit status."""
    args = _arguments()
    signals = Signals()
    signals.install()
    try:
        return _run(args, signals)
    except ZocaloError as e:
        for line in e.data.get("problems") or [e.message]:
            sys.stderr.write(f"zocaloctl: {line}\n")
        return e.exit_status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="zocaloctl wrap", allow_abbrev=False)
    wrap_options(parser)
    parser.add_argument("--relay", required=True)
    parser.add_argument("--named", action="store_true")
    args = parser.parse_args()
    known = sorted(workflows.transport.get_known_transports())
    if args.transport and args.transport not in known:
        parser.error(f"there is no transport {args.transport!r}; there are: {', '.join(known)}")
    return args


def _run(args: argparse.Namespace, signals: Signals) -> int:
    if args.named or "ZOCALO_RELAY_SOCKET" not in os.environ:
        os.environ["ZOCALO_RELAY_SOCKET"] = args.relay
    found = site.activate(args.environment, os.environ)
    flags = {flag: value for flag in FLAGS if (value := getattr(args, _dest(flag))) is not None}
    about = site.apply_flags(flags)
    _log(args.verbose, found.config)
    work = lookup.make(args.wrap, found.config)
    log.info("Starting wrapper for %s with recipewrapper file %s", args.wrap, args.recipewrapper)
    asked = Asked(
        transport=args.transport or "",
        flags=about,
        environments=bool(args.environment),
        socket=args.named,
        pool=default_socket().exists(),
        configured=found.configured,
        default=found.default,
    )
    make = recipe.read(Path(args.recipewrapper)) if args.recipewrapper else None
    if not (asked.transport or asked.flags or asked.socket or asked.pool or asked.configured):
        log.warning(
            "No daemon runs here, no broker is configured: trying %s as workflows does", asked.default
        )
    with connected(ways(asked)) as transport:
        return _work(args.wrap, work, make, transport, signals)


def _work(name: str, work: Any, make: Callable[..., Any] | None, transport: Any, signals: Signals) -> int:
    if make is not None:
        step = make(transport=transport)
        work.set_recipe_wrapper(step)
        if about := recipe.task_information(step):
            name += f" ({about})"
    statuses = StatusNotifications(transport.broadcast_status, name)
    for field, value in surroundings(os.environ).items():
        statuses.set_static_status_field(field, value)
    work.status_thread = statuses
    try:
        return job.run(work, statuses, signals)
    finally:
        statuses.shutdown()
        statuses.join(FAREWELL)


class _ToSite(logging.Handler):
    """Gives records to the handlers of the site, which hang where they cannot reach those of the job."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one record."""
        logs.handle(record)


def _log(verbose: int, config: Any) -> None:
    handler = logging.StreamHandler()
    handler.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger().addHandler(handler)
    if config.logging:
        config.logging.verbosity = verbose
        config.logging.attach()
    if logs.in_use():
        logging.getLogger().addHandler(_ToSite())
    if config.logging:
        return
    level = logging.DEBUG if verbose else logging.INFO
    for name in ("workflows", "zocalo", "zocalo_daemon"):
        logging.getLogger(name).setLevel(level)


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


if __name__ == "__main__":
    sys.exit(main())
