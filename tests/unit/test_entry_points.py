"""The names that sites write into their configuration (compatibility.md, 1: services, entry-point groups)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from workflows.services.common_service import CommonService

from zocalo_daemon.worker import lookup
from zocalo_daemon.wrapper.base import DummyWrapper
from zocalo_daemon.wrapper.lookup import make

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", ["Dispatcher", "JSONLines", "Mailer", "Schlockmeister", "Quarantine"])
def test_a_service_is_found_by_its_name(name: str) -> None:
    found = lookup.load(name, lookup.installed())
    assert issubclass(found, CommonService) and found.__module__.startswith("zocalo_daemon.")


def test_the_wrapper_dummy_is_found() -> None:
    assert isinstance(make("dummy", None), DummyWrapper)


def test_no_name_of_zocalo_is_an_entry_point_of_ours() -> None:
    """Else `zocalo.service -s Dispatcher` and `zocalo.wrap --wrap dummy` may run ours, or may not."""
    points = PROJECT["entry-points"]
    assert "workflows.services" not in points and "zocalo.wrappers" not in points
    assert list(points["workflows.transport"]) == ["RelayTransport"]
