"""Which relay a worker uses, and what each relay is told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from zocalo_daemon.config.schema import ControlConfig, DaemonConfig, ServiceConfig, TransportConfig
from zocalo_daemon.relay.pool import spool_places
from zocalo_daemon.supervision.helpers import Helpers
from zocalo_daemon.supervision.placing import relay_of, relay_settings, transport_settings
from zocalo_daemon.supervision.premises import Premises


def configured(services: dict[str, tuple[str | None, int]], relays: int = 3) -> DaemonConfig:
    """Return a configuration with services: name to transport and instances; far is the default."""
    transports = {"far": TransportConfig("far", "rabbitmq"), "near": TransportConfig("near")}
    return DaemonConfig(
        state_dir=Path("/state"),
        control=ControlConfig(Path("/run/zocalod.sock")),
        transports=transports,
        default_transport="far",
        runtimes={},
        services={
            name: ServiceConfig(name, "C", instances=count, transport=transport)
            for name, (transport, count) in services.items()
        },
        relay_processes=relays,
    )


def placed(config: DaemonConfig) -> dict[str, int]:
    return {
        f"{name}/{number}": relay_of(f"{name}/{number}", service, config)
        for name, service in config.services.items()
        for number in range(service.instances)
    }


def test_workers_of_brokers_elsewhere_are_dealt_out():
    config = configured({"a": (None, 1), "b": ("far", 1), "c": ("near", 2), "d": (None, 4)})
    assert placed(config) == {
        **{"a/0": 0, "b/0": 1, "c/0": 0, "c/1": 0},
        **{"d/0": 2, "d/1": 0, "d/2": 1, "d/3": 2},
    }
    many = Counter(placed(configured({f"s{number}": (None, 1) for number in range(30)})).values())
    assert many == {0: 10, 1: 10, 2: 10}


def test_more_instances_than_configured_go_on_in_turn():
    config = configured({"a": (None, 1), "b": (None, 1)})
    assert [relay_of(f"b/{number}", config.services["b"], config) for number in range(4)] == [1, 2, 0, 1]


def test_one_relay_has_all_and_so_has_a_service_of_an_unknown_transport():
    assert set(placed(configured({"a": (None, 5)}, relays=1)).values()) == {0}
    assert set(placed(configured({"a": ("gone", 5)})).values()) == {0}


def test_the_first_relay_alone_has_embedded_transports():
    config = configured({})
    told = [[one["name"] for one in transport_settings(config, index)["transports"]] for index in (0, 1)]
    assert told == [["far", "near"], ["far"]]
    assert {key: relay_settings(config, "x", 2)[key] for key in ("index", "relays")} == {
        "index": 2,
        "relays": 3,
    }


def test_a_worker_is_told_where_its_other_transports_are():
    nobody: Any = None
    groups = SimpleNamespace(of_worker=lambda *_: {})
    premises: Any = SimpleNamespace(
        relay_path=Path("/run/relay.sock"),
        relay=nobody,
        more_relays={Path("/run/relay-1.sock"): nobody},
        life=SimpleNamespace(secret=""),
        groups=groups,
    )
    premises.relay_at = lambda index: Premises.relay_at(premises, index)
    helpers = Helpers(
        nobody, nobody, premises=premises, forkserver_argv=nobody, after=nobody, say=nobody, announce=nobody
    )
    config = configured({"a": (None, 2)}, relays=2)
    spawns: Any = [
        SimpleNamespace(serial=1, instance=f"a/{number}", service=config.services["a"], max_messages=None)
        for number in (0, 1)
    ]
    first, second = (helpers.worker_settings(spawn, config) for spawn in spawns)
    assert first["relay"] == "/run/relay.sock" and "first_relay" not in first
    assert (second["relay"], second["first_relay"]) == ("/run/relay-1.sock", "/run/relay.sock")


def test_the_first_relay_sees_to_the_spools_of_those_that_are_no_more(tmp_path: Path):
    for name in ("relay-1", "relay-2", "relay-10", "relay-x", "queues"):
        (tmp_path / name).mkdir()
    assert spool_places(tmp_path, 1, 2) == [tmp_path / "relay-1"]
    left = spool_places(tmp_path, 0, 2)
    assert left[0] == tmp_path
    assert set(left[1:]) == {tmp_path / "relay-2", tmp_path / "relay-10"}
    assert len(spool_places(tmp_path, 0, 1)) == 4
