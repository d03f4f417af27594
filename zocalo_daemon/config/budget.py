"""What a configuration needs of the machine, against what the machine allows (pure).

The figures are those of a daemon in which every instance runs, every service is in a rolling restart, and
the forkservers are being replaced. They are a little too high rather than too low.
"""

from __future__ import annotations

from collections.abc import Sequence

from zocalo_daemon.values import Value

from .limits import Limit, Limits
from .schema import DaemonConfig, ServiceConfig
from .units import show_size

MIB = 1024**2

# Descriptors. A worker has a channel, a log pipe and a pidfd in the supervisor, and a socket in the relay; so
# does a forkserver but for the socket.
OF_WORKER = 3
OF_FORKSERVER = 3
OF_SUPERVISOR = 32  # its own: sockets, lock, signals, the relay, what it opens for a moment
OF_CLIENTS = 256  # of the control socket (control/server.py)
OF_RELAY = 32
OF_TRANSPORT = 8  # SQLite's files, or the sockets to a broker

# Processes and threads, as the kernel counts both.
TASKS_OF_WORKER = 3
TASKS_OF_TRANSPORT = 2
TASKS_OF_DAEMON = 4  # supervisor, relay, and a process in between while a forkserver forks

# Memory, measured as PSS; services that load large libraries are above it.
MEMORY_OF_WORKER = 16 * MIB
MEMORY_OF_FORKSERVER = 32 * MIB
MEMORY_OF_DAEMON = 48 * MIB
MEMORY_OF_RELAY = 24 * MIB  # each beside the first


class Need(Value):
    """How much of one thing is needed, and the limit that stands against it, if there is one."""

    what: str
    need: int
    limit: Limit | None
    is_size: bool = False

    @property
    def is_exceeded(self) -> bool:
        """Whether the limit is too low."""
        return self.limit is not None and self.need > self.limit.most

    def __str__(self) -> str:
        """Return it as `zocalod --check` prints it."""
        limit = f"{self._show(self.limit.most)} ({self.limit.name})" if self.limit else "none"
        return f"{self.what}: {self._show(self.need)} needed, limit {limit}"

    def remedy(self) -> str:
        """Return what to set so that it suffices."""
        return self.limit.remedy.format(need=self._number()) if self.limit else ""

    def _show(self, value: int) -> str:
        return show_size(-(-value // MIB) * MIB) if self.is_size else str(value)

    def _number(self) -> str:
        return f"{-(-self.need // MIB)}M" if self.is_size else str(self.need)  # as systemd writes sizes


def needs(config: DaemonConfig, limits: Limits) -> list[Need]:
    """Return what a daemon with this configuration needs."""
    services = [service for service in config.services.values() if service.instances]
    workers = sum(service.instances for service in services) + len(services)
    forkservers = 2 * len({service.runtime for service in services})
    transports, more = len(config.transports), config.relay_processes - 1
    supervisor = (
        OF_SUPERVISOR + OF_FORKSERVER * more + OF_CLIENTS + OF_WORKER * workers + OF_FORKSERVER * forkservers
    )
    relay = OF_RELAY + workers + OF_TRANSPORT * transports
    tasks = TASKS_OF_DAEMON + TASKS_OF_WORKER * workers + forkservers + TASKS_OF_TRANSPORT * transports
    tasks += more * (1 + TASKS_OF_TRANSPORT * transports)
    memory = MEMORY_OF_DAEMON + MEMORY_OF_RELAY * more + MEMORY_OF_FORKSERVER * forkservers // 2
    return [
        Need("descriptors of the supervisor", supervisor, limits.descriptors),
        Need("descriptors of the relay", relay, limits.descriptors),
        Need("processes and threads", tasks, limits.processes),
        Need("memory", memory + sum(map(_memory, services)), limits.memory, is_size=True),
    ]


def report(found: Sequence[Need]) -> list[str]:
    """Return the lines that `zocalod --check` prints."""
    return ["budget:", *(f"  {need}" for need in found), *(f"warning: {line}" for line in warnings(found))]


def warnings(found: Sequence[Need]) -> list[str]:
    """Return a line for each limit that is too low, with what to set."""
    return [f"{need}; {need.remedy()}" for need in found if need.is_exceeded]


def _memory(service: ServiceConfig) -> int:
    """Return the bytes that the workers of a service may come to use, as far as the configuration says."""
    said = [most for most in (service.max_rss, service.limits.memory) if most is not None]
    return service.instances * min(said, default=MEMORY_OF_WORKER)
