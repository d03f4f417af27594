"""The values of zocalod.yaml, with their units and defaults. Times are seconds, sizes bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zocalo_daemon.values import Value, field

ROLES = ("view", "operate", "admin")
DRIVERS = ("embedded", "rabbitmq", "activemq")
CLIENTS = ("workers", "user")
LOG_FORMATS = ("auto", "text", "json", "journal")
POLICIES = ("always", "on-failure", "never")
DEFAULT_RUNTIME = "default"
DEFAULT_TRANSPORT = "embedded"


class RestartConfig(Value):
    """When a worker that ended is replaced, and how patiently.

    Args:
        backoff: before the second replacement within the window; doubles from there to max_backoff.
        limit: deaths within `window` after which the instance is `failed`.
    """

    policy: str = "always"
    backoff: float = 0.5
    max_backoff: float = 60.0
    limit: int = 10
    window: float = 120.0


class LimitsConfig(Value):
    """Limits of one worker; None is none. `cpu` is a fraction of one core (200% is 2.0)."""

    memory: int | None = None
    cpu: float | None = None
    open_files: int | None = None


class ServiceConfig(Value):
    """One service: which class, how many workers, and how they are supervised.

    Args:
        service_class: name of one of ours, entry point of workflows.services, or "package.module:Class".
        environment: merged into the service's environment dictionary.
        umask: octal digits.
        after: services that are ready before this one starts, and stop after it.
        start_timeout: for `initializing()`; a worker that is not ready by then is killed and counts as dead.
            None by default, because there are services that do all their work in `initializing()`.
    """

    name: str
    service_class: str
    instances: int = 1
    runtime: str = DEFAULT_RUNTIME
    transport: str | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    restart: RestartConfig = RestartConfig()
    start_timeout: float | None = None
    stop_timeout: float = 30.0
    hang_timeout: float | None = None
    max_messages: int | None = None
    max_age: float | None = None
    max_rss: int | None = None
    max_crashes: int = 3
    tag: str | None = None
    verbose: bool = False
    nice: int = 0
    ionice: str | None = None
    umask: str | None = None
    working_directory: Path | None = None
    user: str | None = None
    group: str | None = None
    limits: LimitsConfig = LimitsConfig()


class RuntimeConfig(Value):
    """An interpreter with service modules; `interpreter` None is the daemon's own."""

    name: str
    interpreter: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    python_path: tuple[Path, ...] = ()
    preload: tuple[str, ...] = ()


class TlsConfig(Value):
    """TLS to a broker; without `ca` the system's certificates count."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verify: bool = True


class ManagementConfig(Value):
    """The HTTP API of RabbitMQ's management plugin; without a username that of the transport counts."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    ca: Path | None = None


class TransportConfig(Value):
    """One member of the transport pool. `password` never appears in repr, logs or status.

    Args:
        spool: how much may wait on disk while the broker is away; 0 for nothing.
    """

    name: str
    driver: str = "embedded"
    hosts: tuple[str, ...] = ()
    vhost: str = "/"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    prefix: str = ""
    heartbeat: float = 30.0
    tls: TlsConfig | None = None
    management: ManagementConfig | None = None
    spool: int = 256 * 1024 * 1024


class GrantConfig(Value):
    """A group that has a role, for the services whose names match a pattern, or for everything (None)."""

    group: str
    services: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """Return it as a difference of configurations shows it."""
        return self.group if self.services is None else f"{self.group} for {' '.join(self.services)}"


class ControlConfig(Value):
    """The control socket and who may use it: role to groups."""

    socket: Path
    roles: dict[str, tuple[GrantConfig, ...]] = field(default_factory=dict)


class RelayConfig(Value):
    """Whom the relay serves: the daemon's own workers, or any process of its user."""

    clients: str = "workers"


class MetricsConfig(Value):
    """Where metrics and health are to be had by HTTP; None is nowhere."""

    listen: str | None = None


class LogConfig(Value):
    """Where the daemon's log goes, and in which form; `file` None is standard error.

    Args:
        format: "auto" is the journal if standard error leads there, else text.
    """

    format: str = "auto"
    file: Path | None = None


class DaemonConfig(Value):
    """All of zocalod.yaml, validated.

    Args:
        relay_processes: over how many relays the workers are spread.
        trail: how much is kept on disk of which recipes have run here; 0 for nothing.
        files: what it was read from, in the order of merging; empty for the built-in configuration.
        site: Zocalo v1 site configuration, or None.
        transports: empty, and default_transport "", while the site configuration has yet to define them
            (`load.with_site_transports`).
        places: where the files name a transport that only the site configuration may define, by key.
    """

    state_dir: Path
    control: ControlConfig
    transports: dict[str, TransportConfig]
    default_transport: str
    runtimes: dict[str, RuntimeConfig]
    services: dict[str, ServiceConfig]
    relay: RelayConfig = RelayConfig()
    status_broadcast: bool = True
    relay_processes: int = 1
    trail: int = 64 * 1024 * 1024
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
    site: Path | None = None
    site_environment: str | None = None
    files: tuple[Path, ...] = ()
    places: dict[str, Any] = field(default_factory=dict)
