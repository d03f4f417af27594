"""The difference applied to the old configuration gives the new one; equal ones have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from zocalo_daemon.config.diff import Effect, apply, carried, describe, diff, same
from zocalo_daemon.config.schema import (
    ControlConfig,
    DaemonConfig,
    LimitsConfig,
    RestartConfig,
    RuntimeConfig,
    ServiceConfig,
    TlsConfig,
    TransportConfig,
)
from zocalo_daemon.values import replace

SECRET = "geheim"
UNHURRIED = settings(deadline=None)  # the machine may be busy
FIELDS = list(DaemonConfig.__fields__)
names = st.sampled_from(["a", "b", "c"])
paths = st.sampled_from([Path("/x"), Path("/y")])
scalars = st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from([0.0, 1.0, "", SECRET])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2)
)


def named(kind: type[Any], **attributes: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    built = st.fixed_dictionaries({}, optional=attributes)
    chosen = st.dictionaries(names, built, max_size=3)
    return chosen.map(lambda found: {name: kind(name, **given) for name, given in found.items()})


services = named(
    lambda name, **given: ServiceConfig(name, **{"service_class": "C"} | given),
    service_class=names,
    instances=st.integers(0, 2),
    runtime=names,
    transport=st.none() | names,
    environment=st.dictionaries(names, values, max_size=2),
    restart=st.builds(RestartConfig, backoff=st.sampled_from([0.5, 1.0])),
    after=st.lists(names, max_size=2).map(tuple),
    hang_timeout=st.none() | st.just(9.0),
    max_rss=st.none() | st.just(2**30),
    limits=st.builds(LimitsConfig, cpu=st.none() | st.just(1.0)),
)
transports = named(
    TransportConfig,
    driver=st.sampled_from(["embedded", "rabbitmq"]),
    hosts=st.just(("h:1",)),
    vhost=names,
    password=st.none() | st.just(SECRET),
    tls=st.none() | st.builds(TlsConfig, verify=st.booleans()),
)
runtimes = named(
    RuntimeConfig,
    interpreter=paths,
    env=st.dictionaries(names, st.sampled_from(["", SECRET])),
    preload=st.just(("m",)),
)
configurations = st.builds(
    DaemonConfig,
    state_dir=paths,
    control=st.builds(ControlConfig, paths, st.dictionaries(names, st.just(("g",)), max_size=2)),
    transports=transports,
    default_transport=names,
    runtimes=runtimes,
    services=services,
    site=st.none() | paths,
    site_environment=st.none() | names,
    files=st.just(()) | st.tuples(paths),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[DaemonConfig, DaemonConfig]:
    """Draw two configurations that have much in common."""
    old, new = draw(configurations), draw(configurations)
    kept = {name: getattr(old, name) for name in FIELDS if draw(st.booleans())}
    for name in ("services", "runtimes", "transports"):
        items = getattr(old, name)
        kept.setdefault(name, getattr(new, name) | {key: items[key] for key in items if draw(st.booleans())})
    return old, replace(new, **kept)


@UNHURRIED
@given(pairs())
def test_the_difference_leads_from_old_to_new(pair: tuple[DaemonConfig, DaemonConfig]) -> None:
    old, new = pair
    found = diff(old, new)
    result = apply(old, found)
    assert result == new
    assert not diff(result, new)
    for name, service in new.services.items():
        assert same(result.services[name].environment, service.environment)


@UNHURRIED
@given(configurations)
def test_equal_configurations_have_no_difference(config: DaemonConfig) -> None:
    assert not diff(config, config)
    assert describe(diff(config, config)) == []


@UNHURRIED
@given(pairs())
def test_every_service_is_in_one_group_and_every_difference_in_words(
    pair: tuple[DaemonConfig, DaemonConfig],
) -> None:
    old, new = pair
    found = diff(old, new)
    groups = [found.added, found.removed, found.restarted, found.resized, found.retuned]
    told = [service.name for group in groups for service in group]
    assert sorted(told) == [change.name for change in found.services]
    count = len(found.settings) + len(found.runtimes) + len(found.transports) + len(found.services)
    lines = describe(found)
    assert len(lines) == count
    assert all("\n" not in line and SECRET not in line for line in lines)


@UNHURRIED
@given(pairs())
def test_a_worker_is_never_left_with_another_world(pair: tuple[DaemonConfig, DaemonConfig]) -> None:
    """What a worker is made of is the same before and after, if its service is not restarted."""
    old, new = pair
    found = diff(old, new)
    restarted = {service.name for service in found.restarted}
    for name in (old.services.keys() & new.services.keys()) - restarted:
        assert made_of(old, name) == made_of(new, name)
    for change in found.services:
        if change.effect is Effect.RESTART and change.old and change.new:
            assert change.keys or change.causes


def made_of(config: DaemonConfig, name: str) -> tuple[Any, ...]:
    service = config.services[name]
    transport = config.transports.get(used := service.transport or config.default_transport)
    broker = (transport.driver, transport.vhost, transport.prefix) if transport else None
    runtime = config.runtimes.get(service.runtime)
    own = (service.service_class, repr(sorted(service.environment.items())), service.limits)
    return (*own, service.runtime, runtime, used, broker, config.site, config.site_environment)


@UNHURRIED
@given(configurations, configurations)
def test_what_is_carried_over_needs_no_restart_of_the_daemon(old: DaemonConfig, new: DaemonConfig) -> None:
    assert not diff(old, carried(old, new)).fixed
