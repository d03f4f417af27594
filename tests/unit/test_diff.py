"""What each change of the configuration asks for, and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from zocalo_daemon.config.diff import Effect, apply, carried, describe, diff
from zocalo_daemon.config.schema import (
    ControlConfig,
    DaemonConfig,
    GrantConfig,
    LimitsConfig,
    RestartConfig,
    RuntimeConfig,
    ServiceConfig,
    TlsConfig,
    TransportConfig,
)
from zocalo_daemon.values import replace

SPOT = ServiceConfig("spot", "a.b:Spot", instances=2, runtime="dials", transport="rabbit")
DISPATCHER = ServiceConfig("dispatcher", "Dispatcher")
RABBIT = TransportConfig("rabbit", "rabbitmq", ("rmq1:5672",), username="zocalo", password="geheim")
OLD = DaemonConfig(
    state_dir=Path("/s"),
    control=ControlConfig(Path("/run/z.sock"), {"view": (GrantConfig("beamline"),)}),
    transports={"rabbit": RABBIT, "embedded": TransportConfig("embedded")},
    default_transport="embedded",
    runtimes={
        "default": RuntimeConfig("default"),
        "dials": RuntimeConfig("dials", Path("/p"), env={"TOKEN": "geheim"}),
    },
    services={"dispatcher": DISPATCHER, "spot": SPOT},
)


def with_spot(**values: object) -> DaemonConfig:
    return replace(OLD, services={"dispatcher": DISPATCHER, "spot": replace(SPOT, **values)})


def with_rabbit(**values: object) -> DaemonConfig:
    return replace(OLD, transports=OLD.transports | {"rabbit": replace(RABBIT, **values)})


def changed(new: DaemonConfig) -> dict[str, tuple[Effect, tuple[str, ...], tuple[str, ...]]]:
    found = diff(OLD, new)
    assert apply(OLD, found) == new
    return {change.name: (change.effect, change.keys, change.causes) for change in found.services}


def test_equal_configurations_have_no_difference() -> None:
    assert not diff(OLD, OLD)
    assert describe(diff(OLD, OLD)) == []


def test_another_list_of_files_alone_changes_nothing() -> None:
    new = replace(OLD, files=(Path("/x"),))
    assert not diff(OLD, new)
    assert apply(OLD, diff(OLD, new)) == new


def test_services_come_and_go() -> None:
    other = ServiceConfig("other", "Other", instances=3)
    found = diff(OLD, replace(OLD, services={"spot": SPOT, "other": other}))
    assert (found.added, found.removed) == ((other,), (DISPATCHER,))
    assert (found.restarted, found.resized, found.retuned) == ((), (), ())
    assert describe(found) == ["service dispatcher: removed", "service other: added, 3 x Other"]


def test_a_number_alone_resizes() -> None:
    new = with_spot(instances=5)
    assert changed(new) == {"spot": (Effect.RESIZE, ("instances",), ())}
    assert diff(OLD, new).resized == (new.services["spot"],)
    assert diff(OLD, new).restarted == ()
    assert describe(diff(OLD, new)) == ["service spot: instances 2 -> 5"]


@pytest.mark.parametrize(
    ("values", "key", "line"),
    [
        ({"restart": RestartConfig(backoff=2.0)}, "restart.backoff", "restart.backoff 0.5s -> 2s"),
        ({"after": ("find",)}, "after", "after [] -> [find]"),
        ({"start_timeout": 5.0}, "start_timeout", "start_timeout none -> 5s"),
        ({"stop_timeout": 90.0}, "stop_timeout", "stop_timeout 30s -> 90s"),
        ({"hang_timeout": 7200.0}, "hang_timeout", "hang_timeout none -> 2h"),
        ({"max_messages": 5}, "max_messages", "max_messages none -> 5"),
        ({"max_age": 86400.0}, "max_age", "max_age none -> 1d"),
        ({"max_rss": 2 * 1024**3}, "max_rss", "max_rss none -> 2GiB"),
        ({"max_crashes": 4}, "max_crashes", "max_crashes 3 -> 4"),
    ],
)
def test_policy_touches_no_worker(values: dict[str, object], key: str, line: str) -> None:
    new = with_spot(**values)
    assert changed(new) == {"spot": (Effect.NOW, (key,), ())}
    assert diff(OLD, new).retuned == (new.services["spot"],)
    assert describe(diff(OLD, new)) == [f"service spot: {line}"]


@pytest.mark.parametrize(
    ("values", "key", "line"),
    [
        ({"service_class": "X"}, "class", "class a.b:Spot -> X"),
        ({"verbose": True}, "verbose", "verbose false -> true"),
        ({"nice": 5}, "nice", "nice 0 -> 5"),
        ({"limits": LimitsConfig(cpu=2.0)}, "limits.cpu", "limits.cpu none -> 200%"),
        ({"environment": {"live": True}}, "environment.live", "environment.live changed"),
        ({"runtime": "default"}, "runtime", "runtime dials -> default"),
        ({"transport": "embedded"}, "transport", "transport rabbit -> embedded"),
        ({"transport": None}, "transport", "transport rabbit -> none"),
    ],
)
def test_what_a_worker_is_made_of_restarts_it(values: dict[str, object], key: str, line: str) -> None:
    new = with_spot(**values)
    assert changed(new) == {"spot": (Effect.RESTART, (key,), ())}
    assert diff(OLD, new).restarted == (new.services["spot"],)
    assert describe(diff(OLD, new)) == [f"service spot: {line}; rolling restart"]


def test_a_restart_outweighs_a_number() -> None:
    new = with_spot(instances=5, nice=1, max_crashes=9)
    assert changed(new) == {"spot": (Effect.RESTART, ("instances", "max_crashes", "nice"), ())}
    assert diff(OLD, new).resized == ()


def test_true_is_not_one() -> None:
    old, new = with_spot(environment={"live": 1}), with_spot(environment={"live": True})
    assert diff(old, new).services[0].keys == ("environment.live",)


def test_to_name_the_default_transport_touches_no_worker() -> None:
    new = replace(OLD, services={"spot": SPOT, "dispatcher": replace(DISPATCHER, transport="embedded")})
    assert changed(new) == {"dispatcher": (Effect.NOW, ("transport",), ())}


def test_another_default_transport_moves_those_that_use_it() -> None:
    new = replace(OLD, default_transport="rabbit")
    assert changed(new) == {"dispatcher": (Effect.RESTART, (), ("default_transport",))}
    assert describe(diff(OLD, new)) == [
        "default_transport: embedded -> rabbit",
        "service dispatcher: default_transport changed; rolling restart",
    ]


def test_another_runtime_restarts_its_services() -> None:
    runtime = replace(OLD.runtimes["dials"], env={"TOKEN": "new geheim"}, preload=("numpy",))
    new = replace(OLD, runtimes=OLD.runtimes | {"dials": runtime})
    causes = ("runtimes.dials.env.TOKEN", "runtimes.dials.preload")
    assert changed(new) == {"spot": (Effect.RESTART, (), causes)}
    assert describe(diff(OLD, new)) == [
        "runtime dials: env.TOKEN changed, preload [] -> [numpy]; rolling restart",
        "service spot: runtimes.dials.env.TOKEN changed, runtimes.dials.preload changed; rolling restart",
    ]


def test_runtimes_and_transports_come_and_go() -> None:
    new = replace(
        OLD,
        runtimes={"default": RuntimeConfig("default"), "cuda": RuntimeConfig("cuda")},
        transports={"embedded": TransportConfig("embedded"), "amq": TransportConfig("amq", "activemq")},
        services={"dispatcher": DISPATCHER},
    )
    changed(new)
    assert describe(diff(OLD, new)) == [
        "runtime cuda: added",
        "runtime dials: removed",
        "transport amq: added, activemq",
        "transport rabbit: removed",
        "service spot: removed",
    ]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"hosts": ("rmq2:1", "rmq3:1")}, "hosts [rmq1:5672] -> [rmq2:1, rmq3:1]"),
        ({"password": "geheimer"}, "password changed"),
        ({"password": None, "password_file": Path("/f")}, "password changed, password_file none -> /f"),
        ({"tls": TlsConfig()}, "tls changed"),
    ],
)
def test_another_way_to_the_same_broker_leaves_workers_alone(values: dict[str, object], line: str) -> None:
    new = with_rabbit(**values)
    assert changed(new) == {}
    assert describe(diff(OLD, new)) == [f"transport rabbit: {line}; reconnects"]


def test_keys_of_tls_are_told_one_by_one() -> None:
    old, new = with_rabbit(tls=TlsConfig()), with_rabbit(tls=TlsConfig(verify=False))
    assert describe(diff(old, new)) == ["transport rabbit: tls.verify true -> false; reconnects"]


def test_another_broker_restarts_its_services() -> None:
    new = with_rabbit(vhost="other", prefix="x", hosts=("h:1",))
    causes = ("transports.rabbit.vhost", "transports.rabbit.prefix")
    assert changed(new) == {"spot": (Effect.RESTART, (), causes)}


def test_the_site_concerns_every_service() -> None:
    new = replace(OLD, site=Path("/site.yaml"))
    assert changed(new) == {name: (Effect.RESTART, (), ("site",)) for name in ("dispatcher", "spot")}


def test_some_keys_wait_for_a_restart_of_the_daemon() -> None:
    new = replace(OLD, state_dir=Path("/t"), control=ControlConfig(Path("/run/y.sock"), {"view": ()}))
    found = diff(OLD, new)
    assert found.fixed == ("state_dir", "control.socket")
    assert describe(found) == [
        "state_dir: /s -> /t; needs a restart of the daemon",
        "control.socket: /run/z.sock -> /run/y.sock; needs a restart of the daemon",
        "control.roles: {view: [beamline]} -> {view: []}",
    ]
    kept = carried(OLD, new)
    assert (kept.state_dir, kept.control) == (OLD.state_dir, ControlConfig(Path("/run/z.sock"), {"view": ()}))
    assert diff(kept, new).fixed == found.fixed


def test_no_line_shows_a_secret() -> None:
    new = replace(
        with_rabbit(password="geheim2", tls=TlsConfig()),
        runtimes={"default": RuntimeConfig("default", env={"TOKEN": "geheim3"})},
        services={"spot": replace(SPOT, environment={"token": "geheim4", "a\nb": 1})},
    )
    for found in (diff(OLD, new), diff(new, OLD)):
        lines = describe(found)
        assert "geheim" not in "\n".join(lines)
        assert "geheim" not in repr(found.transports)
        assert not any("\n" in line for line in lines)
