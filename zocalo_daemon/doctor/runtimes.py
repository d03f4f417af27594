"""Runtimes: whether they can load the services, tried in forkservers as the daemon would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from zocalo_daemon.config.schema import DaemonConfig, RuntimeConfig
from zocalo_daemon.daemon import forkserver_argv
from zocalo_daemon.doctor.findings import Finding, ok, problem, warning
from zocalo_daemon.doctor.situation import Situation
from zocalo_daemon.supervision.forkserver import Forkserver
from zocalo_daemon.supervision.helpers import used_runtimes
from zocalo_daemon.supervision.probe import probe

PATIENCE = 20.0  # seconds for one runtime to import its services
LOOK = 5.0  # seconds for an interpreter to start
_TITLE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('setproctitle') is None)"


def check(situation: Situation) -> Iterator[Finding]:
    """Yield which runtimes and classes cannot be loaded."""
    config = situation.config
    if config is None:
        return
    for runtime in used_runtimes(config).values():
        environ = {**situation.environ, **runtime.env}
        argv = forkserver_argv(runtime.interpreter)
        server = probe(runtime, config, situation.site, argv, situation.environ, patience=PATIENCE)
        yield from judge(runtime, config, server)
        if server.state == "ready" and not _has_title(argv[0], environ):
            text = "lacks setproctitle: ps will not say which worker is which"
            do = f"{argv[0]} -m pip install setproctitle"
            yield warning("runtime", runtime.name, text, do)


def judge(runtime: RuntimeConfig, config: DaemonConfig, server: Forkserver) -> Iterator[Finding]:
    """Yield what a forkserver has told of its runtime; one line for a runtime that cannot run at all."""
    prefix = f"runtime {runtime.name}: "
    if server.state == "failed":
        error = server.error.removeprefix(prefix)
        install = error.rpartition("install it there: ")[2] if "install it there: " in error else ""
        do = (
            f"{runtime.interpreter or 'python3'} -m {install}"
            if install
            else "mend it, then: zocaloctl reload"
        )
        yield problem("runtime", runtime.name, error, do)
        return
    for line in server.warnings:
        text = line.removesuffix(f" (runtime {runtime.name})")
        yield warning("runtime", runtime.name, text, "mend it, then: zocaloctl reload")
    bad = 0
    for service in config.services.values():
        if service.runtime == runtime.name and (said := server.class_error(service.name)):
            bad += 1
            do = f"mend it, or class: of services.{service.name}; then: zocaloctl reload"
            yield problem("service", service.name, said, do)
    if not bad:
        which = runtime.interpreter or "the daemon's own interpreter"
        yield ok("runtime", runtime.name, f"{which}, Python {server.python}, loads its services")


def _has_title(interpreter: str, environ: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(  # noqa: S603  (the interpreter that the configuration names)
            [interpreter, "-c", _TITLE],
            env={**environ},
            cwd=Path(os.sep),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LOOK,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return True  # not known
    return done.returncode != 1
