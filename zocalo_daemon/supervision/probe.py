"""Finds out whether the services of a configuration can be loaded, without running any of them.

Only the interpreter of a runtime can tell whether a class is there. So a forkserver is started for each, as
the daemon would, and ended as soon as it has said what it found.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.config.schema import DaemonConfig, RuntimeConfig
from zocalo_daemon.protocol.channel import Message
from zocalo_daemon.supervision import forkserver, process
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.helpers import forkserver_settings, used_runtimes
from zocalo_daemon.supervision.logs import PORTION

PATIENCE = 120.0  # seconds for one runtime to import its services


def tried(
    config: DaemonConfig,
    site: dict[str, Any] | None,
    forkserver_argv: Callable[[Path | None], list[str]],
    environ: Mapping[str, str],
) -> tuple[list[str], list[str]]:
    """Return one line for each service whose class cannot be loaded, and those of what is done without.

    Args:
        forkserver_argv: from an interpreter (None: this one) to the command line of a forkserver.
        environ: what the environment of each runtime is added to.
    """
    problems, warnings = [], []
    for runtime in used_runtimes(config).values():
        server = probe(runtime, config, site, forkserver_argv(runtime.interpreter), environ)
        warnings += server.warnings
        problems += [
            f"services.{service.name}: {error}"
            for service in config.services.values()
            if service.runtime == runtime.name and (error := server.class_error(service.name))
        ]
    return problems, warnings


def probe(
    runtime: RuntimeConfig,
    config: DaemonConfig,
    site: dict[str, Any] | None,
    argv: list[str],
    environ: Mapping[str, str],
    *,
    patience: float = PATIENCE,
) -> Forkserver:
    """Return what a forkserver of a runtime has said of itself; the process has ended by then.

    Args:
        argv, environ: its command line, and what its environment is added to.
        patience: seconds for it to import its services.
    """
    settings = forkserver_settings(runtime, config, site, umask=0o077)
    try:
        server = forkserver.start(runtime.name, argv, {**environ, **runtime.env}, settings)
    except OSError as e:
        return forkserver.unstartable(runtime.name, f"cannot run {runtime.interpreter}: {e.strerror}")
    try:
        _listen(server, patience)
    finally:
        server.channel.close()
        os.close(server.log)
        forkserver.terminate(server)
        os.waitid(os.P_PIDFD, server.pidfd, os.WEXITED | os.WNOWAIT)
        process.reap(server.pid, server.pidfd)
    return server


def _listen(server: Forkserver, patience: float) -> None:
    """Hear a forkserver out, until it has loaded or failed; what its imports print is not of interest."""
    end = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        selector.register(server.channel, selectors.EVENT_READ)
        selector.register(server.log, selectors.EVENT_READ)
        while server.state == "starting":
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready:
                server.fail(f"its services were not imported within {patience:g} s")
            for key, _ in ready:
                if key.fd == server.log:
                    if not os.read(server.log, PORTION):
                        selector.unregister(server.log)
                elif (messages := server.receive()) is None:
                    server.fail("its forkserver ended without a word")
                else:
                    _note(server, messages)


def _note(server: Forkserver, messages: list[Message]) -> None:
    for message in messages:
        match message.get("event"):
            case "loaded":
                server.loaded(message)
            case "failed":
                server.fail(str(message.get("error")))
