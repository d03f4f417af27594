"""What `zocalod --check` prints about a configuration that is valid."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from .schema import DaemonConfig, ServiceConfig, TransportConfig
from .units import show_size


def check_summary(config: DaemonConfig) -> str:
    """Return a few lines: files read, services, instances, transports, and what is valid but unwise."""
    transports = ", ".join(map(_transport, config.transports.values()))
    files = ", ".join(map(str, config.files)) or "none, the built-in configuration"
    count = sum(service.instances for service in config.services.values())
    lines = [
        f"files: {files}",
        f"state: {config.state_dir}",
        f"trail: {f'up to {show_size(config.trail)} of recipes' if config.trail else 'none'}",
        f"socket: {config.control.socket}",
        f"site: {config.site or 'none'}",
        f"transports: {transports or 'as the site configuration says'}",
        f"runtimes: {', '.join(config.runtimes)}",
        f"services: {len(config.services)} with {_number(count, 'instance')}",
        *(f"  {_service(service, config)}" for service in config.services.values()),
        *(f"warning: {line}" for line in warnings(config)),
    ]
    return "\n".join(lines)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _transport(transport: TransportConfig) -> str:
    hosts = f" at {' '.join(transport.hosts)}" if transport.hosts else ""
    return f"{transport.name} ({transport.driver}{hosts})"


def _service(service: ServiceConfig, config: DaemonConfig) -> str:
    runtime = config.runtimes[service.runtime]
    where = f" in runtime {runtime.name}" if runtime.interpreter else ""
    transport = service.transport or config.default_transport
    by = f" by {transport}" if transport else ""
    return f"{service.name}: {service.instances} x {service.service_class}{where}{by}"


def warnings(config: DaemonConfig) -> Iterator[str]:
    """Yield what is valid but unwise, or has no effect, one line each."""
    if not config.services and config.files:
        yield "no service is configured"
    if config.relay_processes > 1 and all(one.driver == "embedded" for one in config.transports.values()):
        yield "relay_processes has no effect: embedded transports all belong to the first relay"
    for transport in config.transports.values():
        if transport.tls and not transport.tls.verify:
            yield f"transports.{transport.name}.tls.verify: false lets anybody play the broker"
        if transport.prefix and transport.driver != "activemq":
            yield f"transports.{transport.name}.prefix has no effect with {transport.driver}"
    listen = config.metrics.listen
    if listen and not listen.startswith(("127.", "[::1]")):
        yield f"metrics.listen: {listen} shows the names and states of all services to the network"
    if any(transport.password for transport in config.transports.values()):
        for file in filter(_exposed, config.files):
            yield f"{file} may hold a password and others can read it; chmod 600, or use password_file"


def _exposed(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
