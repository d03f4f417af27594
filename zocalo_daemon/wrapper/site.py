"""The site configuration of a job, and what the command line changes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import workflows
import workflows.transport
from workflows.transport.pika_transport import PikaTransport
from workflows.transport.stomp_transport import StompTransport

from zocalo_daemon.errors import ConfigError
from zocalo_daemon.site import load
from zocalo_daemon.site.checks import words
from zocalo_daemon.site.configuration import Configuration
from zocalo_daemon.wrapper.outcome import Unusable
from zocalo_daemon.wrapper.ways import DRIVERS, PIKA, STOMP

_CLASSES = {PIKA: PikaTransport, STOMP: StompTransport}
_PREFIXES = {PIKA: "--rabbit-", STOMP: "--stomp-"}
_PLUGINS = {"pika": PIKA, "stomp": STOMP}


class Site(NamedTuple):
    """What is active.

    Args:
        config: the object that jobs get.
        configured, default: as in `ways.Asked`.
    """

    config: Configuration
    configured: frozenset[str]
    default: str


def activate(environments: Sequence[str], environ: Mapping[str, str]) -> Site:
    """Activate environments, or the default one, and set what transports take that a job makes by itself.

    Raises:
        Unusable: the configuration has a problem, or an environment is not defined.
    """
    path = environ.get("ZOCALO_CONFIG")
    if not path:
        if environments:
            raise Unusable("there are no environments: set ZOCALO_CONFIG to the site configuration")
        return Site(Configuration(), frozenset(), workflows.transport.default_transport)
    try:
        names: list[str | None] = list(environments) or [environ.get("ZOCALO_DEFAULT_ENV")]
        data = _merged([load.load(Path(path), name) for name in names])
        config = Configuration.from_plain(data)
        config.activate()
    except ConfigError as e:
        raise Unusable(e.message, e.data) from e
    active = [
        data["configurations"][entry] for name in data["active"] for entry in data["environments"][name]
    ]
    configured = {_PLUGINS[one["plugin"]] for one in active if one["plugin"] in _PLUGINS}
    named = (config.storage or {}).get("zocalo.default_transport")
    if any(one["plugin"] == "transport" for one in active):
        named = workflows.transport.default_transport
    default = named or (min(configured) if configured else workflows.transport.default_transport)
    return Site(config, frozenset(configured), default)


def _merged(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one configuration of which all environments are active, each read for one of them."""
    whole = found[0]
    for other in found[1:]:
        whole["active"] += other["active"]
        read = {name: one for name, one in other["configurations"].items() if isinstance(one, dict)}
        whole["configurations"].update(read)
    return whole


def apply_flags(flags: Mapping[str, str]) -> frozenset[str]:
    """Set what the flags of the command line say about brokers; return the transports that they are about.

    Raises:
        Unusable: a file of --rabbit-conf or --stomp-conf cannot be read.
    """
    about = set()
    for flag, value in flags.items():
        name = next(name for name, prefix in _PREFIXES.items() if flag.startswith(prefix))
        about.add(name)
        try:
            if flag.endswith("-conf"):
                _CLASSES[name].load_configuration_file(value)
            else:
                _CLASSES[name].config[flag] = value
        except Exception as e:  # workflows.Error, or one of the many kinds of configparser
            raise Unusable(f"{flag} {value}: {e}") from None
    return frozenset(about)


def broker(name: str) -> dict[str, Any]:
    """Return the settings of a relay's transport that stands for one of workflows.

    Raises:
        Unusable: hosts and ports do not fit.
    """
    of, prefix = _CLASSES[name], _PREFIXES[name]
    values = {flag.removeprefix(prefix): value for flag, value in {**of.defaults, **of.config}.items()}
    hosts, ports = words(values["host"]), words(values["port"])
    ports = ports * len(hosts) if len(ports) == 1 else ports
    if len(hosts) != len(ports) or not all(port.isdecimal() for port in ports):
        raise Unusable(
            f"hosts {', '.join(hosts)}, ports {', '.join(ports)}: give one port, or one for each host"
        )
    return {
        "name": DRIVERS[name],
        "driver": DRIVERS[name],
        "hosts": [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)],
        "vhost": str(values.get("vhost") or "/"),
        "username": values["user"],
        "password": values["pass"],
        "prefix": str(values.get("prfx") or ""),
        "spool": 0,  # on a disk that nobody looks at; who sends waits instead
    }
