"""What a configuration needs of the machine."""

from pathlib import Path

import pytest

from zocalo_daemon.config import budget
from zocalo_daemon.config.limits import Limit, Limits
from zocalo_daemon.config.schema import (
    ControlConfig,
    DaemonConfig,
    LimitsConfig,
    RuntimeConfig,
    ServiceConfig,
    TransportConfig,
)
from zocalo_daemon.control import server

GIB = 1024**3


def config(*services: ServiceConfig) -> DaemonConfig:
    return DaemonConfig(
        state_dir=Path("/state"),
        control=ControlConfig(Path("/run/z.sock")),
        transports={"local": TransportConfig("local")},
        default_transport="local",
        runtimes={"default": RuntimeConfig("default")},
        services={service.name: service for service in services},
    )


def need(what: str, *services: ServiceConfig) -> budget.Need:
    return next(one for one in budget.needs(config(*services), Limits()) if what in one.what)


def many(count: int, **more) -> ServiceConfig:
    return ServiceConfig("many", "Many", instances=count, **more)


@pytest.mark.parametrize(("what", "each"), [("supervisor", 3), ("relay", 1), ("processes", 3)])
def test_every_instance_costs(what, each):
    assert need(what, many(11)).need - need(what, many(1)).need == 10 * each


def test_a_service_in_a_rolling_restart_has_one_worker_more():
    two = ServiceConfig("a", "A", instances=5), ServiceConfig("b", "B", instances=5)
    assert need("relay", *two).need - need("relay", many(10)).need == 1


def test_a_service_without_instances_costs_nothing():
    assert need("supervisor", many(0)) == need("supervisor")


def test_memory_is_what_the_configuration_allows():
    estimated = need("memory", many(10)).need
    assert need("memory", many(10, max_rss=2 * GIB)).need - estimated == 10 * (2 * GIB - 16 * 1024**2)
    both = many(10, max_rss=2 * GIB, limits=LimitsConfig(memory=GIB))
    assert need("memory", both) == need("memory", many(10, max_rss=GIB))


def test_a_limit_that_is_too_low_is_named_with_what_to_set():
    limits = Limits(
        Limit(64, "RLIMIT_NOFILE", "set LimitNOFILE={need}"),
        Limit(100, "pids.max of the control group /x", "set TasksMax={need}"),
        Limit(2 * GIB, "the memory of /x", "set MemoryMax={need}"),
    )
    lines = budget.warnings(budget.needs(config(many(40, max_rss=GIB)), limits))
    assert lines == [
        "descriptors of the supervisor: 417 needed, limit 64 (RLIMIT_NOFILE); set LimitNOFILE=417",
        "descriptors of the relay: 81 needed, limit 64 (RLIMIT_NOFILE); set LimitNOFILE=81",
        "processes and threads: 131 needed, limit 100 (pids.max of the control group /x); set TasksMax=131",
        "memory: 41040MiB needed, limit 2GiB (the memory of /x); set MemoryMax=41040M",
    ]


def test_what_suffices_is_reported_without_a_warning():
    limits = Limits(Limit(100_000, "RLIMIT_NOFILE", ""), None, None)
    lines = budget.report(budget.needs(config(many(40)), limits))
    assert lines[0] == "budget:"
    assert lines[1] == "  descriptors of the supervisor: 417 needed, limit 100000 (RLIMIT_NOFILE)"
    assert lines[3] == "  processes and threads: 131 needed, limit none"
    assert len(lines) == 5


def test_the_clients_that_it_counts_are_those_that_the_server_takes():
    assert budget.OF_CLIENTS == server.MAX_CLIENTS
