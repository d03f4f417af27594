"""Every key of zocalod.yaml: what it takes, and which attribute of the schema it fills.

The defaults are those of the schema. Who adds a key adds a line here, an attribute there, and a row to
docs/configuration.md; a test compares the three.
"""

from __future__ import annotations

from typing import Any

from . import checks
from .checks import (
    host,
    interpreter,
    module,
    name,
    secret,
    secret_file,
    service_class,
    service_name,
    variable,
)
from .schema import (
    CLIENTS,
    DRIVERS,
    LOG_FORMATS,
    POLICIES,
    GrantConfig,
    LimitsConfig,
    LogConfig,
    ManagementConfig,
    MetricsConfig,
    RelayConfig,
    RestartConfig,
    RuntimeConfig,
    ServiceConfig,
    TlsConfig,
    TransportConfig,
)
from .units import fraction, seconds, show_fraction, show_seconds, show_size, size
from .values import address, boolean, choice, integer, key_text, measure, octal, path, plain, text, url
from .walk import Converter, Field, Given, Section, list_of, table

DAY = 86400.0
MIB = 1024**2
TIB = 1024**4


def _duration(low: float, high: float = 30 * DAY) -> Converter:
    return measure(seconds, show_seconds, low, high)


_memory = measure(size, show_size, MIB, 1024 * TIB)

RESTART = Section(
    RestartConfig,
    {
        "policy": Field(choice(*POLICIES)),
        "backoff": Field(_duration(0.01)),
        "max_backoff": Field(_duration(0.01)),
        "limit": Field(integer(1, 1_000_000)),
        "window": Field(_duration(1.0)),
    },
    checks.restart,
)

LIMITS = Section(
    LimitsConfig,
    {
        "memory": Field(_memory),
        "cpu": Field(measure(fraction, show_fraction, 0.01, 1024.0, plain=False)),
        "open_files": Field(integer(64, 1_048_576)),
    },
)

SERVICE = Section(
    ServiceConfig,
    {
        "class": Field(service_class, "service_class", required="Dispatcher"),
        "instances": Field(integer(0, 10_000)),
        "runtime": Field(name),
        "transport": Field(name),
        "environment": Field(table(plain, key_text, "{live: true}")),
        "after": Field(list_of(name, "[dispatcher]")),
        "restart": Field(RESTART),
        "start_timeout": Field(_duration(0.1)),
        "stop_timeout": Field(_duration(0.0)),
        "hang_timeout": Field(_duration(0.1)),
        "max_messages": Field(integer(1, 10**12)),
        "max_age": Field(_duration(1.0, 3650 * DAY)),
        "max_rss": Field(_memory),
        "max_crashes": Field(integer(1, 1_000_000)),
        "tag": Field(text),
        "verbose": Field(boolean),
        "nice": Field(integer(-20, 19)),
        "ionice": Field(choice("idle", *(f"best-effort/{level}" for level in range(8)))),
        "umask": Field(octal),
        "working_directory": Field(path),
        "user": Field(text),
        "group": Field(text),
        "limits": Field(LIMITS),
    },
    named=True,
)

RUNTIME = Section(
    RuntimeConfig,
    {
        "interpreter": Field(interpreter),
        "env": Field(table(checks.env_value, variable, '{OMP_NUM_THREADS: "1"}')),
        "python_path": Field(list_of(path, "[/opt/site/python]")),
        "preload": Field(list_of(module, "[numpy, mypackage.services]")),
    },
    named=True,
)

TLS = Section(
    TlsConfig,
    {"ca": Field(path), "certificate": Field(path), "key": Field(path), "verify": Field(boolean)},
    checks.tls,
)

MANAGEMENT = Section(
    ManagementConfig,
    {
        "url": Field(url, required="http://rmq1:15672"),
        "username": Field(text),
        "password": Field(secret),
        "password_file": Field(secret_file),
        "ca": Field(path),
    },
    checks.credentials,
)

TRANSPORT = Section(
    TransportConfig,
    {
        "driver": Field(choice(*DRIVERS)),
        "hosts": Field(list_of(host, "[rmq1:5672, rmq2:5672]")),
        "vhost": Field(text),
        "username": Field(text),
        "password": Field(secret),
        "password_file": Field(secret_file),
        "prefix": Field(text),
        "heartbeat": Field(_duration(1.0, 3600.0)),
        "tls": Field(TLS),
        "management": Field(MANAGEMENT),
        "spool": Field(measure(size, show_size, 0, 1024 * TIB)),
    },
    checks.transport,
    named=True,
)

GRANT = Section(
    GrantConfig,
    {
        "group": Field(text, required="beamline"),
        "services": Field(list_of(checks.pattern, "['spot*']")),
    },
    checks.grant,
)
_groups = list_of(checks.or_group(GRANT), "[beamline, controls]")
ROLES = Section(dict[str, Any], {"view": Field(_groups), "operate": Field(_groups), "admin": Field(_groups)})
CONTROL = Section(dict[str, Any], {"socket": Field(checks.socket), "roles": Field(ROLES)})

RELAY = Section(RelayConfig, {"clients": Field(choice(*CLIENTS))})
METRICS = Section(MetricsConfig, {"listen": Field(address)})


def _log(given: Given) -> None:
    """The journal is no file."""
    if given.values.get("format") == "journal" and "file" in given.values:
        given.add("file", "the journal is no file; give 'format: text' or 'format: json'")


LOG = Section(LogConfig, {"format": Field(choice(*LOG_FORMATS)), "file": Field(path)}, _log)

TOP = Section(
    dict[str, Any],
    {
        "version": Field(checks.version),
        "site": Field(path),
        "site_environment": Field(text),
        "state_dir": Field(path),
        "control": Field(CONTROL),
        "relay": Field(RELAY),
        "status_broadcast": Field(boolean),
        "relay_processes": Field(integer(1, 16)),
        "trail": Field(measure(size, show_size, 0, 1024 * TIB)),
        "metrics": Field(METRICS),
        "log": Field(LOG),
        "transports": Field(
            table(checks.or_empty(TRANSPORT), checks.key_name, "{rabbit: {driver: rabbitmq}}")
        ),
        "default_transport": Field(name),
        "runtimes": Field(
            table(checks.or_empty(RUNTIME), checks.key_name, "{dials: {interpreter: /opt/dials/bin/python}}")
        ),
        "services": Field(table(checks.or_empty(SERVICE), service_name, "{dispatcher: {class: Dispatcher}}")),
    },
    checks.references,
)
